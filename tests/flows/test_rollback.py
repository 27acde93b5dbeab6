"""A person takes production back: from what was written down, from a release that still runs, or not at all."""

import re
from collections.abc import Mapping
from typing import Any

from cloud import Behaviour
from driver import Run, Stage, play
from scene import NEW, OLD, ROOT, SERVICES

from flows.rollback import rollback
from playbook.claim import Record
from playbook.errors import Transient
from playbook.matrix import Symptom
from playbook.migration import Migrations
from playbook.requests import RollbackRequest

LEAD, BACKEND, FRONTEND = SERVICES
NEXT = "v20251123-def456"
ALL_OLD, ALL_NEW = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, NEW)
REQUEST = RollbackRequest(symptom=Symptom.ERRORS_IN_BAND, reason="reports are empty", requested_by="ada")


def told(stage: Stage, words: str) -> int:
    """How many messages say so."""
    return sum(words in message.text for message in stage.scene.slack.said)


def last_good(stage: Stage, service: str) -> list[str]:
    """The good releases written on a service, the newest first."""
    return [good.name for good in Record.read(stage.scene.production.read(service)).last_good]


async def ask(stage: Stage, orders: Mapping[int, Any] | None = None, **fields: Any) -> Run:
    """A rollback to its end, and that of everything it started."""
    run = stage.start(rollback, orders, request=REQUEST.model_copy(update=fields), environment="production")
    await stage.ended(run)
    await stage.catch_up()
    return run


def after(*versions: str, **fields: Any) -> tuple[Stage, Run]:
    """A rollback asked for after these releases."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        for version in versions:
            stage.scene.publish(version)
            assert (await stage.release(version)).end == "Promoted"
            await stage.catch_up()
        return stage, await ask(stage, **fields)

    return play(story)


def test_everybody_goes_back_to_the_release_before() -> None:
    """One write for each service moves users; then page, room, ticket and #releases, once; nothing is left held."""
    stage, run = after(NEW, NEXT)
    assert (run.end, stage.scene.versions_served()) == ("RolledBack", ALL_NEW)
    moving = [write.service for write in stage.scene.production.writes if write.moved][-3:]
    assert moving == list(SERVICES)
    for service in SERVICES:
        assert last_good(stage, service)[0] == NEW
        assert NEXT not in last_good(stage, service)
    assert told(stage, "❌ PRODUCTION ROLLBACK EXECUTED") == 1
    assert told(stage, f"Rolled back {NEXT} to {NEW} (previous stable)") == 1
    assert told(stage, "Incident Commander: ?") == 1
    assert [ticket.title for ticket in stage.scene.github.tickets] == [f"Production rollback of {NEXT}"]
    assert not stage.is_held("production")


def test_the_first_release_can_be_taken_back_too() -> None:
    """To what served when it came, though nobody had written that down before."""
    stage, run = after(NEW)
    assert (run.end, stage.scene.versions_served()) == ("RolledBack", ALL_OLD)


def test_without_any_release_there_is_nothing_to_roll_back_to() -> None:
    """A sentence with the service and the next step, and not one write."""
    stage, run = after()
    assert run.end == "Refused"
    assert "nothing to roll back to" in run.message
    assert "Name a revision in `to`" in run.message
    assert stage.scene.production.writes == []


def test_rolling_back_twice_goes_back_once() -> None:
    """The second person is told that it is done; going further back must be named."""

    async def story(stage: Stage) -> list[Run]:
        for version in (NEW, NEXT):
            stage.scene.publish(version)
            await stage.release(version)
        runs = [await ask(stage), await ask(stage), await ask(stage, to=f"{LEAD}-00001-old")]
        assert stage.scene.versions_served() == {**ALL_NEW, LEAD: OLD}
        return runs

    first, second, third = play(story)
    assert (first.end, second.end, third.end) == ("RolledBack", "Refused", "RolledBack")
    assert f"already been taken back to {NEW}" in second.message


def test_a_release_that_still_runs_is_taken_back_instead() -> None:
    """It is the newest thing users have: its process is fenced, and the release before it stays."""

    async def story(stage: Stage) -> tuple[Stage, Run, Run]:
        stage.scene.publish(NEW)
        running = stage.start_release(NEW)
        await stage.until(stage.baking(BACKEND))
        back = await ask(stage)
        await stage.ended(running)
        return stage, running, back

    stage, running, back = play(story)
    assert (running.end, back.end) == ("Fenced", "RolledBack")
    assert stage.scene.versions_served() == ALL_OLD
    assert told(stage, "❌ PRODUCTION ROLLBACK EXECUTED") == 1
    assert told(stage, "ada asked for a rollback") >= 1
    assert len(stage.scene.pagerduty.incidents) == 1
    assert not stage.is_held("production")


def test_what_a_release_that_still_runs_is_taken_back_to_is_looked_at() -> None:
    """Readiness and login, after the write and before people are told; how long it took stands in the run."""

    async def story(stage: Stage, **behaviour: bool) -> tuple[Stage, Run]:
        stable = stage.scene.production.services[BACKEND].revisions[f"{BACKEND}-00001-old"]
        stage.scene.publish(NEW)
        stage.start_release(NEW)
        await stage.until(stage.baking(BACKEND))
        stable.behaviour = Behaviour(**behaviour)
        return stage, await ask(stage)

    stage, run = play(story)
    assert run.end == "RolledBack"
    assert re.search(r"again, \d+\.\d s after it was asked for", run.message)
    stage, run = play(lambda stage: story(stage, smoke_serving=False))
    assert (run.end, stage.scene.versions_served()) == ("Unfit", ALL_OLD)
    assert "that is not well either" in run.message
    assert told(stage, "LOOK AT ONCE") == 1


def test_what_is_gone_back_to_is_not_well_either() -> None:
    """Users are back, the run says Unfit, and #releases reads LOOK AT ONCE."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW)
        await stage.release(NEW)
        stage.scene.production.services[BACKEND].revisions[f"{BACKEND}-00001-old"].behaviour = Behaviour(
            smoke_serving=False
        )
        return stage, await ask(stage)

    stage, run = play(story)
    assert (run.end, stage.scene.versions_served()) == ("Unfit", ALL_OLD)
    assert told(stage, "LOOK AT ONCE") == 1


def test_the_matrix_is_asked_and_a_reason_overrules_it() -> None:
    """A UI bug is no reason to roll back; `even_so` is told with it."""
    stage, refused = after(NEW, symptom=Symptom.UI_BUG)
    assert refused.end == "Refused"
    assert "even_so: for 'UI bug (no backend impact)' the matrix says 'Fix in next release'" in refused.message
    assert stage.scene.versions_served() == ALL_NEW
    stage, done = after(NEW, symptom=Symptom.UI_BUG, even_so="the login button is gone")
    assert done.end == "RolledBack"
    assert told(stage, "even so: the login button is gone") >= 1


def test_a_revision_that_does_not_exist_is_refused_before_any_write() -> None:
    """The field, the name, and what is known."""
    stage, run = after(NEW, to="ethixai-backend-00007-nope")
    assert run.end == "Refused"
    assert f"to: 'ethixai-backend-00007-nope' is no release and no revision of {', '.join(SERVICES)}" in run.message
    assert stage.scene.versions_served() == ALL_NEW


def test_an_alarm_is_over_once_its_rollback_is_verified() -> None:
    """The watch pages with the filled-in form; the rollback resolves that page, the next good release the rollback's
    own."""

    async def story(stage: Stage) -> None:
        stage.scene.publish(NEW)
        await stage.release(NEW)
        backend = stage.scene.production.services[BACKEND]
        backend.revisions[backend.served.main].behaviour = Behaviour(errors=0.05)
        await stage.catch_up()
        (alarm,) = stage.scene.pagerduty.incidents
        assert alarm.endswith("/watch")
        assert told(stage, "/deployments/deployment/rollback/production/run?parameters=%7B%22request%22") == 1
        await stage.ended(stage.start(rollback, request=REQUEST, environment="production"))
        (incident,) = stage.scene.pagerduty.incidents
        assert f"rollback-of-{NEW}" in incident
        stage.scene.publish(NEXT)
        assert (await stage.release(NEXT)).end == "Promoted"
        assert stage.scene.pagerduty.incidents == {}

    play(story)


class Silent:
    """A MongoDB that does not answer."""

    async def applied(self) -> tuple[str, ...]:
        """As the block's."""
        raise Transient("MongoDB, asked for its changelog, does not answer.")


def test_a_database_that_does_not_answer_stops_no_rollback() -> None:
    """Users go back; a release is what has to wait."""

    async def story(stage: Stage) -> tuple[Run, Run]:
        stage.scene.publish(NEW)
        await stage.release(NEW)
        migrations = Migrations(folder=str(ROOT / "rehearsal" / "migrations"), services=(BACKEND,))
        production = stage.scene.environments["production"]
        silent = production.model_copy(update={"migrations": migrations, "mongodb": Silent()})
        stage.scene.environments["production"] = silent
        back = await ask(stage)
        assert stage.scene.versions_served() == ALL_OLD
        stage.scene.publish(NEXT)
        return back, await stage.release(NEXT)

    back, release = play(story)
    assert (back.end, release.end) == ("RolledBack", "Failed")
