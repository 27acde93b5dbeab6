"""One test for each way a release may end: the state's name and message, the order of the writes, the words."""

from typing import Any
from uuid import UUID

import pytest
from cloud import Behaviour, described
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES

from flows.rollback import rollback
from playbook.checklist.items import Override, Topic
from playbook.errors import Fenced
from playbook.incident.decision_matrix import Symptom
from playbook.lease.record import PREFIX, Record
from playbook.release.request import RollbackRequest
from playbook.release.traffic import TrafficSplit

LEAD, BACKEND, FRONTEND = SERVICES
ALL_OLD = dict.fromkeys(SERVICES, OLD)
ALL_NEW = dict.fromkeys(SERVICES, NEW)


def released(
    behaviour: Behaviour | None = None, *, where: str = "production", **request: Any
) -> tuple[TestEnvironment, Run]:
    """A release whose backend behaves so, up to its end and that of everything it started."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: behaviour} if behaviour else None, where=where)
        run = await test_env.release(**request)
        await test_env.catch_up()
        return test_env, run

    return play(scenario)


def moves(test_env: TestEnvironment) -> list[str]:
    """The writes to production that moved traffic or deployed, in order, the services side by side in one line."""
    lines = []
    for write in test_env.fixture.production.writes:
        if write.moved:
            release = write.change.record.holder
            what = described(write.change).split(", ")[0] if write.change.deployment else str(write.change.split)
            lines.append(f"{write.service}: {what.replace(release[-6:], 'x')}")
    return lines


def left_behind(test_env: TestEnvironment, where: str = "production") -> set[str]:
    """What our annotations still say on any service there."""
    return {
        key.removeprefix(PREFIX)
        for state in test_env.fixture.clouds[where].services.values()
        for key in state.annotations
        if key.startswith(PREFIX)
    }


def test_a_healthy_release_is_promoted_in_dependency_order() -> None:
    """Deployed at 0 %, a tenth, then everybody, the lead first each time; told, written down, nothing left over."""
    test_env, run = released(changes="Bug fixes for analyze endpoint")
    assert (run.end, test_env.fixture.versions_served()) == ("Promoted", ALL_NEW)
    assert run.message == f"{NEW} serves all users of {', '.join(SERVICES)} in production."
    assert moves(test_env) == [
        *(f"{name}: deploy {name}-abc123-x" for name in SERVICES),
        *(f"{name}: {name}-00001-old 90 %, {name}-abc123-x 10 %" for name in SERVICES),
        *(f"{name}: {name}-abc123-x 100 %" for name in SERVICES),
    ]
    assert test_env.fixture.slack.keys == ["starting", "complete", "watched"]
    assert "🚀 Production release starting at 14:00 UTC" in test_env.fixture.slack.text
    assert "Changes: Bug fixes for analyze endpoint" in test_env.fixture.slack.text
    assert "✅ Production release complete" in test_env.fixture.slack.text
    assert test_env.fixture.sentries["production"].releases == {NEW: ["production"]}
    assert left_behind(test_env) == {"epoch", "last-good", "signature"}
    assert [one.deployment for one in test_env.server.started.values()] == ["watch/production"]


def test_staging_has_it_before_production_is_touched() -> None:
    """The first write to production comes after the last one to staging."""
    test_env, _ = released()
    staging, production = (test_env.fixture.clouds[name].writes for name in ("staging", "production"))
    assert max(write.at_s for write in staging) < min(write.at_s for write in production)
    assert test_env.fixture.versions_served("staging") == ALL_NEW


def test_a_canary_that_errs_is_reverted_and_then_told() -> None:
    """All services go back to stable; page, ticket and #releases say why, after users are safe."""
    test_env, run = released(Behaviour(errors=0.05))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "above 0.5 %" in run.message
    assert run.message.startswith(BACKEND)
    assert moves(test_env)[-3:] == [f"{name}: {name}-00001-old 100 %" for name in SERVICES]
    assert "❌ PRODUCTION ROLLBACK EXECUTED" in test_env.fixture.slack.text
    assert [ticket.title for ticket in test_env.fixture.github.tickets] == ["Production canary rollback triggered"]
    assert len(test_env.fixture.pagerduty.incidents) == 1
    calls = [(call.system, call.method) for call in run.process.calls]
    last_move = max(n for n, call in enumerate(run.process.calls) if "100 %, REVERT" in call.subject)
    assert last_move < calls.index(("pagerduty", "page")) < calls.index(("github", "open"))
    assert "claim" not in left_behind(test_env)


def test_the_page_of_a_reverted_release_leads_to_its_ticket() -> None:
    """It is opened after users are back, so the page is written once more."""

    async def scenario(test_env: TestEnvironment) -> list[str]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        await test_env.release()
        return [pages[-1] for key, pages in test_env.server.artifacts.items() if key.startswith("production-v")]

    (page,) = play(scenario)
    assert "production: Reverted" in page.splitlines()[0]
    assert "[ticket](<https://" in page


def test_a_revision_that_does_not_start_is_reverted_before_any_user_met_it() -> None:
    """Traffic never moved; the claim and the tag are gone; the message says which revision."""
    test_env, run = released(Behaviour(starts=False))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert f"{BACKEND}-abc123-" in run.message
    assert "failed to start" in run.message
    assert not [line for line in moves(test_env) if "10 %" in line.split()]
    assert "Impact: none: no user reached the new revisions" in test_env.fixture.slack.text
    assert not [name for name in SERVICES if test_env.fixture.production.services[name].split.tags]


def test_a_failed_smoke_test_at_the_tag_keeps_users_away() -> None:
    """No user ever reached the canary."""
    test_env, run = released(Behaviour(smoke=False))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "answered 500" in run.message
    assert not [line for line in moves(test_env) if "10 %" in line]


def test_a_failed_smoke_test_after_the_promotion_takes_it_back() -> None:
    """What only shows when everybody is there is reverted too."""
    test_env, run = released(Behaviour(smoke_serving=False))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert moves(test_env)[-6:] == [
        *(f"{name}: {name}-abc123-x 100 %" for name in SERVICES),
        *(f"{name}: {name}-00001-old 100 %" for name in SERVICES),
    ]


def test_a_release_that_fails_in_staging_never_touches_production() -> None:
    """Refused, with staging's own reason; not one write to production."""
    test_env, run = released(Behaviour(smoke=False), where="staging")
    assert run.end == "Refused"
    assert run.message.startswith("production was not touched; staging: ")
    assert test_env.fixture.production.writes == []
    assert test_env.fixture.versions_served("staging") == ALL_OLD


def test_more_instances_that_help_let_it_be_promoted() -> None:
    """Playbook 8: a p95 above 5 s is answered with more instances first."""
    test_env, run = released(Behaviour(very_slow=0.3, cured_by_instances=True))
    assert (run.end, test_env.fixture.versions_served()) == ("Promoted", ALL_NEW)
    assert test_env.fixture.slack.keys == ["starting", "scaled", "complete", "watched"]


def test_more_instances_that_do_not_help_are_followed_by_a_revert() -> None:
    """Rollback if scaling doesn't help; the scaling goes back too."""
    test_env, run = released(Behaviour(very_slow=0.3))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "scaled" in test_env.fixture.slack.keys
    assert test_env.fixture.production.services[BACKEND].scaling.min_instances == 1


def test_the_schedule_finds_nothing_to_release() -> None:
    """An empty version, and nothing has passed staging: nothing is written, and #releases knows that and why."""
    test_env, run = released(version="")
    assert run.end == "NothingToRelease"
    assert test_env.fixture.production.writes == test_env.fixture.clouds["staging"].writes == []
    assert test_env.fixture.slack.keys == ["not-started"]
    for words in ("PRODUCTION RELEASE DID NOT START (NothingToRelease)", run.message, "/runs/flow-run/"):
        assert words in test_env.fixture.slack.text


def test_the_schedule_releases_what_passed_staging() -> None:
    """An empty version is the one that staging has written down as good."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        await test_env.release(environment="staging")
        return await test_env.release("")

    run = play(scenario)
    assert run.end == "Promoted"
    assert NEW in run.message


def test_the_schedule_does_not_repeat_what_was_taken_back() -> None:
    """A version that a person rolled back, or the judge reverted, waits until a person names it."""

    async def scenario(test_env: TestEnvironment, behaviour: Behaviour) -> tuple[Run, Run, Run]:
        test_env.fixture.publish(NEW, {BACKEND: behaviour})
        first = await test_env.release()
        if first.end == "Promoted":
            asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="empty reports", requested_by="ada")
            await test_env.ended(test_env.start(rollback, request=asked, environment="production"))
        resolved = Override(item=Topic.INCIDENTS, by="Ada", reason="its fault is found")
        return first, await test_env.release(""), await test_env.release(NEW, overrides=(resolved,))

    for behaviour in (Behaviour(), Behaviour(errors=0.05)):
        first, scheduled, named = play(lambda test_env, one=behaviour: scenario(test_env, one))
        assert scheduled.end == "NothingToRelease"
        assert "only when it is named" in scheduled.message
        assert named.end == first.end


def test_what_was_taken_back_from_one_service_of_staging_is_not_due() -> None:
    """The first service has it still. It has not passed staging."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        await test_env.release(environment="staging")
        before = test_env.fixture.clouds["staging"].services[FRONTEND].revisions
        asked = RollbackRequest(
            symptom=Symptom.ERRORS_ABOVE_MAX, reason="empty reports", requested_by="ada", to=next(iter(before))
        )
        await test_env.ended(test_env.start(rollback, request=asked, environment="staging"))
        return await test_env.release("")

    assert play(scenario).end == "NothingToRelease"


@pytest.mark.parametrize("errors", [0.0, 0.05], ids=["by a person", "by the judge"])
def test_what_was_taken_back_from_one_service_alone_waits_for_a_person(errors: float) -> None:
    """The first service of the file had no part in it. The schedule leaves the version alone, and so does a person who
    has not said why. Once it is good everywhere its page is resolved."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run, Run]:
        test_env.fixture.publish(NEW, {FRONTEND: Behaviour(errors=errors)})
        await test_env.release(environment="staging")
        first = await test_env.release(services=(FRONTEND,))
        if first.end == "Promoted":
            asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="empty reports", requested_by="ada")
            await test_env.ended(test_env.start(rollback, request=asked, environment="production"))
        scheduled, named = await test_env.release(""), await test_env.release(NEW)
        test_env.fixture.publish("v20251123-def456")
        resolved = Override(item=Topic.INCIDENTS, by="Ada", reason="its fault is found")
        assert (await test_env.release("v20251123-def456", overrides=(resolved,))).end == "Promoted"
        assert not test_env.fixture.pagerduty.incidents
        return first, scheduled, named

    first, scheduled, named = play(scenario)
    assert first.end == ("Reverted" if errors else "Promoted")
    assert (scheduled.end, named.end) == ("NothingToRelease", "Refused")
    assert "No open incident of a release" in named.message


def test_what_is_live_already_is_not_released_again() -> None:
    """The same version once more writes nothing."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, int, int]:
        test_env.fixture.publish(NEW)
        await test_env.release()
        before = len(test_env.fixture.production.writes)
        return await test_env.release(), before, len(test_env.fixture.production.writes)

    run, before, after = play(scenario)
    assert (run.end, run.message) == ("NothingToRelease", f"production already serves {NEW}.")
    assert before == after


@pytest.mark.parametrize(
    ("second", "ends"), [("v20251117-def456", "Refused"), (NEW, "Duplicate")], ids=["another version", "the same"]
)
def test_a_release_in_flight_is_named_to_the_one_that_comes_too_late(second: str, ends: str) -> None:
    """Who holds what, and which run; the one in flight is not disturbed."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW)
        test_env.fixture.publish("v20251117-def456")
        first = test_env.start_release()
        await test_env.until(test_env.baking(FRONTEND))
        late = await test_env.release(second)
        await test_env.ended(first)
        return first, late

    first, late = play(scenario)
    assert (first.end, late.end) == ("Promoted", ends)
    assert f"/runs/flow-run/{first.process.flow_run_id}" in late.message


@pytest.mark.parametrize(
    "first",
    [{"environment": "staging"}, {"services": (LEAD, FRONTEND)}],
    ids=["to staging alone", "of two services"],
)
def test_a_release_of_the_same_version_that_does_less_is_no_duplicate(first: dict[str, Any]) -> None:
    """A run that ends Duplicate is green: the version must be on its way to everything that was asked for."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW)
        begun = test_env.start_release(**first)
        where = test_env.fixture.clouds[first.get("environment", "production")]
        await test_env.until(lambda: bool(Record.read(where.read(LEAD)).lease))
        late = await test_env.release()
        await test_env.ended(begun)
        return begun, late

    begun, late = play(scenario)
    assert (begun.end, late.end) == ("Promoted", "Refused")
    assert "start this again once it has ended" in late.message


def test_two_runs_of_one_release_to_production_are_duplicates_in_staging_too() -> None:
    """The first has come to staging, and goes on to production."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW)
        begun = test_env.start_release()
        await test_env.until(lambda: bool(Record.read(test_env.fixture.clouds["staging"].read(LEAD)).lease))
        late = await test_env.release()
        await test_env.ended(begun)
        return begun, late

    begun, late = play(scenario)
    assert (begun.end, late.end) == ("Promoted", "Duplicate")


def test_two_releases_in_the_same_second_do_not_both_run() -> None:
    """Exactly one is promoted; the other names it."""

    async def scenario(test_env: TestEnvironment) -> list[Run]:
        test_env.fixture.publish(NEW)
        test_env.fixture.publish("v20251117-def456")
        both = [test_env.start_release(), test_env.start_release("v20251117-def456")]
        await test_env.ended(*both)
        return both

    ends = sorted(run.end for run in play(scenario))
    assert ends == ["Promoted", "Refused"]


def test_a_release_that_is_fenced_while_it_claims_leaves_nothing_held() -> None:
    """Recovery would find the lead's claim, and promote what its own run gave up."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(lambda: test_env.is_held("production"))
        record = Record.read(test_env.fixture.production.read(FRONTEND))
        await test_env.out_of_band(
            FRONTEND, record=record.model_copy(update={"epoch": int(test_env.fixture.now()) + 5})
        )
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Fenced", ALL_OLD)
    assert not test_env.is_held("production")


def test_a_release_that_is_taken_over_as_it_ends_does_not_say_promoted() -> None:
    """#releases was told already; a rollback takes it back, and its own run ends Fenced."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(lambda: "complete" in test_env.fixture.slack.keys)
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="empty reports", requested_by="ada")
        back = test_env.start(rollback, request=asked, environment="production")
        await test_env.ended(run, back)
        return test_env, run, back

    test_env, run, back = play(scenario)
    assert (run.end, back.end) == ("Fenced", "RolledBack")
    assert test_env.fixture.versions_served() == ALL_OLD


def test_a_newer_epoch_stops_a_release_at_once() -> None:
    """Fenced: it writes nothing more, and what it had is left to the holder of the lease."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, int, int]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(FRONTEND))
        record = Record.read(test_env.fixture.production.read(LEAD))
        assert record.lease
        newer = record.lease.model_copy(update={"epoch": record.epoch + 100, "flow_run_id": str(UUID(int=7))})
        await test_env.out_of_band(LEAD, record=record.model_copy(update={"epoch": newer.epoch, "lease": newer}))
        before = len(test_env.fixture.production.writes)
        await test_env.ended(run)
        return run, before, len(test_env.fixture.production.writes)

    run, before, after = play(scenario)
    assert run.end == Fenced.__name__
    assert before == after


def test_another_persons_traffic_change_interrupts() -> None:
    """What a person moved mid-bake stays as they left it, the others go back to stable, both sides are told."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(FRONTEND))
        theirs = next(name for name in test_env.split(BACKEND) if name.endswith("-old"))
        mine = next(name for name in test_env.split(BACKEND) if not name.endswith("-old"))
        await test_env.out_of_band(BACKEND, TrafficSplit(percent={theirs: 70, mine: 30}))
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Interrupted"
    assert "ada@example.com" in run.message
    assert sorted(test_env.split(BACKEND).values()) == [30, 70]
    assert test_env.fixture.versions_served()[LEAD] == test_env.fixture.versions_served()[FRONTEND] == OLD
    assert "interrupted" in test_env.fixture.slack.keys
    assert test_env.fixture.pagerduty.incidents
    assert not left_behind(test_env) & {"claim", "member"}
