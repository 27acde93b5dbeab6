"""A person takes production back: from what was written down, from a release that still runs, or not at all."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from faults import Fault
from fixture import NEW, OLD, QUICK, ROOT, SERVICES
from migration_rollbacks import Down
from wire import Call, Process

from blocks.clock import CLOCK
from flows.mitigate import mitigate
from flows.rollback import rollback
from playbook.checklist.items import Override, Topic
from playbook.errors import Transient
from playbook.incident.decision_matrix import Symptom
from playbook.lease.record import Record
from playbook.migration.plan import Migrations
from playbook.release.request import Measure, MitigateRequest, RollbackRequest

LEAD, BACKEND, FRONTEND = SERVICES
NEXT = "v20251123-def456"
ALL_OLD, ALL_NEW = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, NEW)
REQUEST = RollbackRequest(symptom=Symptom.ERRORS_IN_BAND, reason="reports are empty", requested_by="ada")


def told(test_env: TestEnvironment, words: str) -> int:
    """How many messages say so."""
    return sum(words in message.text for message in test_env.fixture.slack.said)


def last_good(test_env: TestEnvironment, service: str) -> list[str]:
    """The good releases written on a service, the newest first."""
    return [good.name for good in Record.read(test_env.fixture.production.read(service)).last_good]


async def ask(test_env: TestEnvironment, orders: Mapping[int, Any] | None = None, **fields: Any) -> Run:
    """A rollback to its end, and that of everything it started."""
    run = test_env.start(rollback, orders, request=REQUEST.model_copy(update=fields), environment="production")
    await test_env.ended(run)
    await test_env.catch_up()
    return run


def after(*versions: str, **fields: Any) -> tuple[TestEnvironment, Run]:
    """A rollback asked for after these releases."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        for version in versions:
            test_env.fixture.publish(version)
            assert (await test_env.release(version)).end == "Promoted"
            await test_env.catch_up()
        return test_env, await ask(test_env, **fields)

    return play(scenario)


def test_everybody_goes_back_to_the_release_before() -> None:
    """One write for each service moves users; then page, room, ticket and #releases, once; nothing is left held."""
    test_env, run = after(NEW, NEXT)
    assert (run.end, test_env.fixture.versions_served()) == ("RolledBack", ALL_NEW)
    moving = [write.service for write in test_env.fixture.production.writes if write.moved][-3:]
    assert moving == list(SERVICES)
    for service in SERVICES:
        assert last_good(test_env, service)[0] == NEW
        assert NEXT not in last_good(test_env, service)
    assert told(test_env, "❌ PRODUCTION ROLLBACK EXECUTED") == 1
    assert told(test_env, f"Rolled back {NEXT} to {NEW} (previous stable)") == 1
    assert told(test_env, "Incident Commander: ?") == 1
    assert [ticket.title for ticket in test_env.fixture.github.tickets] == [f"Production rollback of {NEXT}"]
    assert not test_env.is_held("production")


def test_the_first_release_can_be_taken_back_too() -> None:
    """To what served when it came, though nobody had written that down before."""
    test_env, run = after(NEW)
    assert (run.end, test_env.fixture.versions_served()) == ("RolledBack", ALL_OLD)


def test_a_revision_of_an_image_by_tag_can_be_gone_back_to() -> None:
    """A person deployed it with gcloud, which pins nothing: what is recorded of it can be read by the next run."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, list[Run]]:
        for state in test_env.fixture.production.services.values():
            for name, revision in state.revisions.items():
                revision.image = f"{revision.image.partition('@')[0]}:{name}"
        test_env.fixture.publish(NEW)
        released = await test_env.release(NEW)
        await test_env.catch_up()
        old = ", ".join(f"{service}-00001-old" for service in SERVICES)
        return test_env, [released, await ask(test_env, to=old), await ask(test_env, to=NEW), await ask(test_env)]

    test_env, runs = play(scenario)
    assert [run.end for run in runs] == ["Promoted", "RolledBack", "Refused", "Refused"], [run.message for run in runs]
    assert {last_good(test_env, service)[0] for service in SERVICES} == {f"{service}-00001-old" for service in SERVICES}
    assert not test_env.is_held("production")


def test_without_any_release_there_is_nothing_to_roll_back_to() -> None:
    """A sentence with the service and the next step, and not one write."""
    test_env, run = after()
    assert run.end == "Refused"
    assert "nothing to roll back to" in run.message
    assert "Name a revision in 'to'" in run.message
    assert test_env.fixture.production.writes == []


def test_rolling_back_twice_goes_back_once() -> None:
    """The second person is told that it is done; going further back must be named."""

    async def scenario(test_env: TestEnvironment) -> list[Run]:
        for version in (NEW, NEXT):
            test_env.fixture.publish(version)
            await test_env.release(version)
        runs = [await ask(test_env), await ask(test_env), await ask(test_env, to=f"{LEAD}-00001-old")]
        assert test_env.fixture.versions_served() == {**ALL_NEW, LEAD: OLD}
        return runs

    first, second, third = play(scenario)
    assert (first.end, second.end, third.end) == ("RolledBack", "Refused", "RolledBack")
    assert f"already been taken back to {NEW}" in second.message


def test_a_release_that_still_runs_is_taken_back_instead() -> None:
    """It is the newest thing users have: its process is fenced, and the release before it stays."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        test_env.fixture.publish(NEW)
        running = test_env.start_release(NEW)
        await test_env.until(test_env.baking(BACKEND))
        back = await ask(test_env)
        await test_env.ended(running)
        return test_env, running, back

    test_env, running, back = play(scenario)
    assert (running.end, back.end) == ("Fenced", "RolledBack")
    assert test_env.fixture.versions_served() == ALL_OLD
    assert told(test_env, "❌ PRODUCTION ROLLBACK EXECUTED") == 1
    assert told(test_env, "ada asked for a rollback") >= 1
    assert len(test_env.fixture.pagerduty.incidents) == 1
    assert not test_env.is_held("production")


def test_what_a_release_that_still_runs_is_taken_back_to_is_looked_at() -> None:
    """Readiness and login, after the write and before people are told; how long it took stands in the run."""

    async def scenario(test_env: TestEnvironment, **behaviour: bool) -> tuple[TestEnvironment, Run]:
        stable = test_env.fixture.production.services[BACKEND].revisions[f"{BACKEND}-00001-old"]
        test_env.fixture.publish(NEW)
        test_env.start_release(NEW)
        await test_env.until(test_env.baking(BACKEND))
        stable.behaviour = Behaviour(**behaviour)
        return test_env, await ask(test_env)

    test_env, run = play(scenario)
    assert run.end == "RolledBack"
    assert re.search(r"again, \d+\.\d s after it was asked for", run.message)
    test_env, run = play(lambda test_env: scenario(test_env, smoke_serving=False))
    assert (run.end, test_env.fixture.versions_served()) == ("Unfit", ALL_OLD)
    assert "that fails too" in run.message
    assert told(test_env, "CHECK AT ONCE") == 1


def test_a_rollback_that_took_longer_than_the_playbook_allows_says_so() -> None:
    """Section 4, scenario 2: less than five minutes, or what the policy says."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        return await ask(test_env)

    assert "later than" not in play(scenario).message
    run = play(scenario, QUICK.model_copy(update={"rollback_budget_s": 0.25}))
    assert re.search(r"again, \d+\.\d s after it was asked for, later than the 0 seconds allowed", run.message)


def test_a_worker_whose_clock_is_behind_gives_no_time() -> None:
    """When it was asked for is by the server's clock. No message says that users were back before that."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        CLOCK.set(lambda: test_env.fixture.now() - 10)
        return await ask(test_env)

    assert play(scenario).message.endswith(" again.")


def test_what_is_gone_back_to_is_not_well_either() -> None:
    """Users are back, the run says Unfit, and #releases reads CHECK AT ONCE."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        test_env.fixture.production.services[BACKEND].revisions[f"{BACKEND}-00001-old"].behaviour = Behaviour(
            smoke_serving=False
        )
        return test_env, await ask(test_env)

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Unfit", ALL_OLD)
    assert told(test_env, "CHECK AT ONCE") == 1


def test_the_matrix_is_asked_and_a_reason_overrules_it() -> None:
    """A UI bug is no reason to roll back; `override_reason` is told with it."""
    test_env, refused = after(NEW, symptom=Symptom.UI_BUG)
    assert refused.end == "Refused"
    assert "override_reason: for 'UI bug (no backend impact)' the matrix says 'Fix in next release'" in refused.message
    assert test_env.fixture.versions_served() == ALL_NEW
    test_env, done = after(NEW, symptom=Symptom.UI_BUG, override_reason="the login button is gone")
    assert done.end == "RolledBack"
    assert told(test_env, "override: the login button is gone") >= 1


def test_a_service_that_cannot_be_read_is_not_said_to_be_out_of_the_file() -> None:
    """It stays, and its page says why. Nothing is wrong with the environment's file."""

    def denied(process: Process, call: Call) -> Fault | None:
        is_it = call.method == "snapshot" and call.subject == f"production/{BACKEND}"
        return Fault.DENIED if is_it and process.name.startswith("rollback") else None

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        test_env.fixture.wire.faults.append(denied)
        return test_env, await ask(test_env)

    test_env, run = play(scenario)
    assert (run.end, f"{BACKEND} could not be read" in run.message) == ("Unfit", True)
    assert "no longer in" not in run.message + test_env.fixture.slack.text


def test_a_version_that_is_in_its_bake_is_nothing_to_go_back_to() -> None:
    """The refusal says so, and which rollback takes it back; the bake goes on."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW)
        release = test_env.start_release(NEW)
        await test_env.until(test_env.baking(BACKEND))
        asked = await ask(test_env, to=NEW)
        await test_env.ended(release)
        return release, asked

    release, asked = play(scenario)
    assert (release.end, asked.end) == ("Promoted", "Refused")
    assert f"to: '{NEW}' is on its way to users as {NEW}-" in asked.message
    assert "leave 'to' empty, which takes it back" in asked.message


def test_a_revision_that_does_not_exist_is_refused_before_any_write() -> None:
    """The field, the name, and what is known."""
    test_env, run = after(NEW, to="ethixai-backend-00007-nope")
    assert run.end == "Refused"
    assert f"to: 'ethixai-backend-00007-nope' is no release and no revision of {', '.join(SERVICES)}" in run.message
    assert test_env.fixture.versions_served() == ALL_NEW


def test_an_alarm_is_over_once_its_rollback_is_verified() -> None:
    """The watch pages with the filled-in form; the rollback resolves that page, the next good release the rollback's
    own."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        backend = test_env.fixture.production.services[BACKEND]
        backend.revisions[backend.served.main].behaviour = Behaviour(errors=0.05)
        await test_env.catch_up()
        (alarm,) = test_env.fixture.pagerduty.incidents
        assert alarm.endswith("/watch")
        assert told(test_env, "/deployments/deployment/rollback/production/run?parameters=%7B%22request%22") == 1
        await test_env.ended(test_env.start(rollback, request=REQUEST, environment="production"))
        (incident,) = test_env.fixture.pagerduty.incidents
        assert f"rollback-of-{NEW}" in incident
        test_env.fixture.publish(NEXT)
        assert (await test_env.release(NEXT)).end == "Refused"  # its incident is still open
        fixed = Override(item=Topic.INCIDENTS, by="Ada", reason="this release is the fix")
        assert (await test_env.release(NEXT, overrides=(fixed,))).end == "Promoted"
        assert test_env.fixture.pagerduty.incidents == {}

    play(scenario)


class Silent:
    """A MongoDB that does not answer."""

    async def applied(self) -> tuple[str, ...]:
        """As the block's."""
        raise Transient("MongoDB, asked for its changelog, does not answer.")


def test_a_database_that_does_not_answer_stops_no_rollback() -> None:
    """Users go back; a release is what has to wait."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        migrations = Migrations(folder=str(ROOT / "rehearsal" / "migrations"), services=(BACKEND,))
        production = test_env.fixture.environments["production"]
        silent = production.model_copy(update={"migrations": migrations, "mongodb": Silent()})
        test_env.fixture.environments["production"] = silent
        back = await ask(test_env)
        assert test_env.fixture.versions_served() == ALL_OLD
        test_env.fixture.vendors["production"].pagerduty.resolve_all()
        test_env.fixture.publish(NEXT)
        return back, await test_env.release(NEXT)

    back, release = play(scenario)
    assert (back.end, release.end) == ("RolledBack", "Failed")


def watches(test_env: TestEnvironment) -> list[Run]:
    """The runs of `watch`, in the order they began."""
    return [run for run in test_env.runs if run.process.name.startswith("watch")]


def test_what_users_went_back_to_is_watched_and_the_outcome_is_told() -> None:
    """As after a promotion, for the policy's time; both ends stand in #releases."""
    test_env, run = after(NEW)
    assert run.end == "RolledBack"
    promotion, rolled_back = watches(test_env)
    assert (promotion.end, rolled_back.end) == ("Passed", "Passed")
    assert told(test_env, f"{NEW}: no alarm in the") == 1
    assert told(test_env, f"since users went back to it from {NEW}") == 1


def test_a_watch_ends_where_users_are_moved_off_what_it_watches() -> None:
    """It says neither that the release went well nor that metrics are missing, and pages for nothing."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        run = test_env.start(rollback, request=REQUEST, environment="production")
        await test_env.ended(run)
        assert run.end == "RolledBack"
        await test_env.catch_up()
        return test_env

    test_env = play(scenario)
    assert [one.end for one in watches(test_env)] == ["Superseded", "Passed"]
    assert told(test_env, f"users were moved off {NEW} before the watch was over; it ended there.") == 1
    assert told(test_env, f"{NEW}: no alarm in the") == 0
    assert told(test_env, "PRODUCTION WATCH") == 0


def test_what_users_went_back_to_turns_bad_later() -> None:
    """A page and a message name the release that users have now; a rollback is offered, and none is started."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        test_env.fixture.publish(NEW)
        await test_env.release(NEW)
        await test_env.catch_up()
        run = test_env.start(rollback, request=REQUEST, environment="production")
        await test_env.ended(run)
        assert run.end == "RolledBack"
        old = test_env.fixture.production.services[BACKEND].revisions[f"{BACKEND}-00001-old"]
        old.behaviour = Behaviour(errors=0.05)
        await test_env.catch_up()
        return test_env

    test_env = play(scenario)
    assert watches(test_env)[-1].end == "Alarmed"
    assert told(test_env, f"is bad too, after the rollback of {NEW}") == 1
    (page,) = [one for key, one in test_env.fixture.pagerduty.incidents.items() if key.endswith("/watch")]
    assert page.severity == "P1"
    assert "roll back by hand" not in page.details


def test_a_release_that_was_taken_back_from_users_is_watched_too() -> None:
    """Its canary had users: they are watched where they are now. One that no user met is not."""

    async def scenario(test_env: TestEnvironment, **behaviour: Any) -> TestEnvironment:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(**behaviour)})
        assert (await test_env.release(NEW)).end == "Reverted"
        await test_env.catch_up()
        return test_env

    test_env = play(lambda test_env: scenario(test_env, errors=0.05))
    (watch,) = watches(test_env)
    assert watch.end == "Passed"
    assert told(test_env, f"since users went back to it from {NEW}") == 1
    assert watches(play(lambda test_env: scenario(test_env, starts=False))) == []


@pytest.mark.parametrize("versions", [(NEW,), (NEW, NEXT)], ids=["the first release", "another release"])
@pytest.mark.parametrize("gap_s", [0.0, 0.3, 0.9])
def test_two_people_who_ask_at_once_take_production_back_once(gap_s: float, versions: tuple[str, ...]) -> None:
    """The first goes to the release before; the other is told which one holds the services, wherever the first is.
    Nothing is left held."""

    async def scenario(test_env: TestEnvironment) -> None:
        for version in versions:
            test_env.fixture.publish(version)
            assert (await test_env.release(version)).end == "Promoted"
        first = test_env.start(rollback, request=REQUEST, environment="production")
        await asyncio.sleep(gap_s)
        second = test_env.start(rollback, request=REQUEST, environment="production")
        await test_env.ended(first, second)
        assert (first.end, second.end) == ("RolledBack", "Refused")
        assert f"{LEAD} is held by release rollback-of-{versions[-1]}" in second.message
        assert set(test_env.fixture.versions_served().values()) == {(OLD, *versions)[-2]}
        assert not test_env.is_held("production")

    play(scenario)


@pytest.mark.parametrize("is_part_first", [True, False])
def test_two_rollbacks_that_take_their_leases_at_once_share_no_service(is_part_first: bool) -> None:
    """One is of all services, the other of the backend alone: each has its own first service, so both begin. The one
    that comes to the backend too late leaves it, says whose it is, and holds nothing."""

    async def scenario(test_env: TestEnvironment) -> None:
        for version in (NEW, NEXT):
            test_env.fixture.publish(version)
            assert (await test_env.release(version)).end == "Promoted"
        await asyncio.sleep(60)
        first = Record.read(test_env.fixture.production.read(BACKEND)).last_good[-1].revision
        asked = [REQUEST.model_copy(update={"to": to}) for to in (first, "")]
        runs = [
            test_env.start(rollback, request=one, environment="production")
            for one in (asked if is_part_first else reversed(asked))
        ]
        await test_env.ended(*runs)
        part, whole = runs if is_part_first else reversed(runs)
        assert (part.end, whole.end) == ("RolledBack", "Interrupted")
        assert f"{BACKEND} is held by release rollback-of-{NEXT}-{part.process.flow_run_id[-6:]}" in whole.message
        assert test_env.fixture.versions_served() == {LEAD: NEW, BACKEND: OLD, FRONTEND: NEW}
        assert not test_env.is_held("production")

    play(scenario)


@pytest.mark.parametrize("gap_s", [0.0, 0.2, 0.5])
def test_two_people_who_ask_at_once_take_a_release_that_runs_back_once(gap_s: float) -> None:
    """The second does not take it from the first; it is told where it is seen, or that users are back already."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        running = test_env.start_release()
        await test_env.until(test_env.baking(BACKEND))
        first = test_env.start(rollback, request=REQUEST, environment="production")
        await asyncio.sleep(gap_s)
        second = test_env.start(rollback, request=REQUEST, environment="production")
        await test_env.ended(running, first, second)
        back, late = sorted((first, second), key=lambda run: run.end != "RolledBack")
        assert (back.end, late.end) == ("RolledBack", "Refused")
        assert f"is held by release {NEW}" in late.message
        assert test_env.fixture.versions_served() == ALL_OLD
        assert not test_env.is_held("production")

    play(scenario)


def refusals(test_env: TestEnvironment) -> list[str]:
    """The open pages about refused rollbacks."""
    return [key for key in test_env.fixture.pagerduty.incidents if key.endswith("/refused")]


@pytest.mark.parametrize("is_lost", [False, True], ids=["to its end", "finished by recovery"])
def test_the_page_about_a_refused_rollback_is_over_once_it_succeeds(is_lost: bool) -> None:
    """Also where the one that succeeds loses its process on the way."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        assert (await test_env.release()).end == "Promoted"
        frozen = MitigateRequest(service=BACKEND, measure=Measure.SCALE, instances=9, reason="load", requested_by="ada")
        await test_env.ended(test_env.start(mitigate, request=frozen, environment="production"))
        assert [(await ask(test_env)).end for _ in range(2)] == ["Refused", "Refused"]
        assert len(refusals(test_env)) == 2
        restored = frozen.model_copy(update={"measure": Measure.RESTORE, "instances": None})
        await test_env.ended(test_env.start(mitigate, request=restored, environment="production"))
        assert len(refusals(test_env)) == 2, "users are where they were"
        run = test_env.start(rollback, request=REQUEST, environment="production")
        if is_lost:
            await test_env.until(lambda: set(test_env.fixture.versions_served().values()) == {OLD})
            run.process.die()
            await test_env.recover()
        await test_env.ended(run)
        assert test_env.fixture.versions_served() == ALL_OLD
        assert refusals(test_env) == []

    play(scenario)


def test_a_rollback_of_a_part_leaves_the_page_about_the_whole_open() -> None:
    """What the other services were refused for may last."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        assert (await test_env.release()).end == "Promoted"
        frozen = MitigateRequest(service=BACKEND, measure=Measure.SCALE, instances=9, reason="load", requested_by="ada")
        await test_env.ended(test_env.start(mitigate, request=frozen, environment="production"))
        assert (await ask(test_env)).end == "Refused"
        assert (await ask(test_env, to=f"{FRONTEND}-00001-old")).end == "RolledBack"
        assert len(refusals(test_env)) == 1

    play(scenario)


def test_a_rollback_and_a_migration_rollback_share_no_service_and_no_page_stays() -> None:
    """The one that comes second is refused, whichever it is, and its page is over once it was asked for again."""

    async def scenario(test_env: TestEnvironment) -> None:
        undo = Down("undo")
        await undo.prepare(test_env)
        flow, request = undo.asked()
        back = test_env.start(rollback, request=REQUEST, environment="production")
        early = test_env.start(flow, request=request, environment="production")
        await test_env.ended(back, early)
        assert (back.end, early.end) == ("RolledBack", "Refused")
        assert f"{BACKEND} is held by release rollback-of-" in early.message
        assert len(refusals(test_env)) == 1
        again = test_env.start(flow, request=request, environment="production")
        await test_env.until(lambda: test_env.is_held("production"))
        late = test_env.start(rollback, request=REQUEST, environment="production")
        await test_env.ended(late, again)
        assert (again.end, late.end) == ("RolledBack", "Refused")
        assert refusals(test_env) == [f"production/{late.process.flow_run_id}/refused"]
        assert not test_env.is_held("production")

    play(scenario)
