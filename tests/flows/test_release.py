"""One test for each way a release may end: the state's name and message, the order of the writes, the words."""

from typing import Any

import pytest
from cloud import Behaviour, told
from driver import Run, Stage, play
from scene import NEW, OLD, SERVICES

from flows.rollback import rollback
from playbook.claim import PREFIX, Record
from playbook.errors import Fenced
from playbook.matrix import Symptom
from playbook.requests import RollbackRequest
from playbook.traffic import TrafficSplit

LEAD, BACKEND, FRONTEND = SERVICES
ALL_OLD = dict.fromkeys(SERVICES, OLD)
ALL_NEW = dict.fromkeys(SERVICES, NEW)


def released(behaviour: Behaviour | None = None, *, where: str = "production", **request: Any) -> tuple[Stage, Run]:
    """A release whose backend behaves so, up to its end and that of everything it started."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW, {BACKEND: behaviour} if behaviour else None, where=where)
        run = await stage.release(**request)
        await stage.catch_up()
        return stage, run

    return play(story)


def moves(stage: Stage) -> list[str]:
    """The writes to production that moved traffic or deployed, in order, the services side by side in one line."""
    lines = []
    for write in stage.scene.production.writes:
        if write.moved:
            release = write.change.record.holder
            what = told(write.change).split(", ")[0] if write.change.deployment else str(write.change.split)
            lines.append(f"{write.service}: {what.replace(release[-6:], 'x')}")
    return lines


def left_behind(stage: Stage, where: str = "production") -> set[str]:
    """What our annotations still say on any service there."""
    return {
        key.removeprefix(PREFIX)
        for state in stage.scene.clouds[where].services.values()
        for key in state.annotations
        if key.startswith(PREFIX)
    }


def test_a_healthy_release_is_promoted_in_dependency_order() -> None:
    """Deployed at 0 %, a tenth, then everybody, the lead first each time; told, written down, nothing left over."""
    stage, run = released(changes="Bug fixes for analyze endpoint")
    assert (run.end, stage.scene.versions_served()) == ("Promoted", ALL_NEW)
    assert run.message == f"{NEW} serves all users of {', '.join(SERVICES)} in production."
    assert moves(stage) == [
        *(f"{name}: deploy {name}-abc123-x" for name in SERVICES),
        *(f"{name}: {name}-00001-old 90 %, {name}-abc123-x 10 %" for name in SERVICES),
        *(f"{name}: {name}-abc123-x 100 %" for name in SERVICES),
    ]
    assert stage.scene.slack.keys == ["starting", "complete"]
    assert "🚀 Production release starting at 14:00 UTC" in stage.scene.slack.text
    assert "Changes: Bug fixes for analyze endpoint" in stage.scene.slack.text
    assert "✅ Production release complete" in stage.scene.slack.text
    assert stage.scene.sentries["production"].releases == {NEW: ["production"]}
    assert left_behind(stage) == {"epoch", "last-good"}
    assert [one.deployment for one in stage.server.started.values()] == ["watch/production"]


def test_staging_has_it_before_production_is_touched() -> None:
    """The first write to production comes after the last one to staging."""
    stage, _ = released()
    staging, production = (stage.scene.clouds[name].writes for name in ("staging", "production"))
    assert max(write.at_s for write in staging) < min(write.at_s for write in production)
    assert stage.scene.versions_served("staging") == ALL_NEW


def test_a_canary_that_errs_is_reverted_and_then_told() -> None:
    """All services go back to stable; page, ticket and #releases say why, after users are safe."""
    stage, run = released(Behaviour(errors=0.05))
    assert (run.end, stage.scene.versions_served()) == ("Reverted", ALL_OLD)
    assert "above 0.5 %" in run.message
    assert run.message.startswith(BACKEND)
    assert moves(stage)[-3:] == [f"{name}: {name}-00001-old 100 %" for name in SERVICES]
    assert "❌ PRODUCTION ROLLBACK EXECUTED" in stage.scene.slack.text
    assert [ticket.title for ticket in stage.scene.github.tickets] == ["Production canary rollback triggered"]
    assert len(stage.scene.pagerduty.incidents) == 1
    calls = [(call.system, call.method) for call in run.process.calls]
    last_move = max(n for n, call in enumerate(run.process.calls) if "100 %, REVERT" in call.subject)
    assert last_move < calls.index(("pagerduty", "page")) < calls.index(("github", "open"))
    assert "claim" not in left_behind(stage)


def test_a_revision_that_does_not_start_is_reverted_before_any_user_met_it() -> None:
    """Traffic never moved; the claim and the tag are gone; the message says which revision."""
    stage, run = released(Behaviour(starts=False))
    assert (run.end, stage.scene.versions_served()) == ("Reverted", ALL_OLD)
    assert f"{BACKEND}-abc123-" in run.message
    assert "failed to start" in run.message
    assert not [line for line in moves(stage) if "10 %" in line.split()]
    assert "Impact: none: no user reached the new revisions" in stage.scene.slack.text
    assert not [name for name in SERVICES if stage.scene.production.services[name].split.tags]


def test_a_failed_smoke_test_at_the_tag_keeps_users_away() -> None:
    """No user ever reached the canary."""
    stage, run = released(Behaviour(smoke=False))
    assert (run.end, stage.scene.versions_served()) == ("Reverted", ALL_OLD)
    assert "answered 500" in run.message
    assert not [line for line in moves(stage) if "10 %" in line]


def test_a_failed_smoke_test_after_the_promotion_takes_it_back() -> None:
    """What only shows when everybody is there is reverted too."""
    stage, run = released(Behaviour(smoke_serving=False))
    assert (run.end, stage.scene.versions_served()) == ("Reverted", ALL_OLD)
    assert moves(stage)[-6:] == [
        *(f"{name}: {name}-abc123-x 100 %" for name in SERVICES),
        *(f"{name}: {name}-00001-old 100 %" for name in SERVICES),
    ]


def test_a_release_that_fails_in_staging_never_touches_production() -> None:
    """Refused, with staging's own reason; not one write to production."""
    stage, run = released(Behaviour(smoke=False), where="staging")
    assert run.end == "Refused"
    assert run.message.startswith("production was not touched; staging: ")
    assert stage.scene.production.writes == []
    assert stage.scene.versions_served("staging") == ALL_OLD


def test_more_instances_that_help_let_it_be_promoted() -> None:
    """Playbook 8: a p95 above 5 s is answered with more instances first."""
    stage, run = released(Behaviour(very_slow=0.3, cured_by_instances=True))
    assert (run.end, stage.scene.versions_served()) == ("Promoted", ALL_NEW)
    assert stage.scene.slack.keys == ["starting", "scaled", "complete"]


def test_more_instances_that_do_not_help_are_followed_by_a_revert() -> None:
    """Rollback if scaling doesn't help; the scaling goes back too."""
    stage, run = released(Behaviour(very_slow=0.3))
    assert (run.end, stage.scene.versions_served()) == ("Reverted", ALL_OLD)
    assert "scaled" in stage.scene.slack.keys
    assert stage.scene.production.services[BACKEND].scaling.min_instances == 1


def test_the_schedule_finds_nothing_to_release() -> None:
    """An empty version, and nothing has passed staging: nothing is written, nobody is told."""
    stage, run = released(version="")
    assert run.end == "NothingToRelease"
    assert stage.scene.production.writes == stage.scene.clouds["staging"].writes == []
    assert stage.scene.slack.said == []


def test_the_schedule_releases_what_passed_staging() -> None:
    """An empty version is the one that staging has written down as good."""

    async def story(stage: Stage) -> Run:
        stage.scene.publish(NEW)
        await stage.release(environment="staging")
        return await stage.release("")

    run = play(story)
    assert run.end == "Promoted"
    assert NEW in run.message


def test_the_schedule_does_not_repeat_what_was_taken_back() -> None:
    """A version that a person rolled back, or the judge reverted, waits until somebody names it."""

    async def story(stage: Stage, behaviour: Behaviour) -> tuple[Run, Run, Run]:
        stage.scene.publish(NEW, {BACKEND: behaviour})
        first = await stage.release()
        if first.end == "Promoted":
            asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="empty reports", requested_by="ada")
            await stage.ended(stage.start(rollback, request=asked, environment="production"))
        return first, await stage.release(""), await stage.release(NEW)

    for behaviour in (Behaviour(), Behaviour(errors=0.05)):
        first, scheduled, named = play(lambda stage, one=behaviour: story(stage, one))
        assert scheduled.end == "NothingToRelease"
        assert "only when it is named" in scheduled.message
        assert named.end == first.end


def test_what_is_live_already_is_not_released_again() -> None:
    """The same version once more writes nothing."""

    async def story(stage: Stage) -> tuple[Run, int, int]:
        stage.scene.publish(NEW)
        await stage.release()
        before = len(stage.scene.production.writes)
        return await stage.release(), before, len(stage.scene.production.writes)

    run, before, after = play(story)
    assert (run.end, run.message) == ("NothingToRelease", f"production already serves {NEW}.")
    assert before == after


@pytest.mark.parametrize(
    ("second", "ends"), [("v20251117-def456", "Refused"), (NEW, "Duplicate")], ids=["another version", "the same"]
)
def test_a_release_in_flight_is_named_to_the_one_that_comes_too_late(second: str, ends: str) -> None:
    """Who holds what, and which run; the one in flight is not disturbed."""

    async def story(stage: Stage) -> tuple[Run, Run]:
        stage.scene.publish(NEW)
        stage.scene.publish("v20251117-def456")
        first = stage.start_release()
        await stage.until(stage.baking(FRONTEND))
        late = await stage.release(second)
        await stage.ended(first)
        return first, late

    first, late = play(story)
    assert (first.end, late.end) == ("Promoted", ends)
    assert f"/runs/flow-run/{first.process.flow_run_id}" in late.message


def test_two_releases_in_the_same_second_do_not_both_run() -> None:
    """Exactly one is promoted; the other names it."""

    async def story(stage: Stage) -> list[Run]:
        stage.scene.publish(NEW)
        stage.scene.publish("v20251117-def456")
        both = [stage.start_release(), stage.start_release("v20251117-def456")]
        await stage.ended(*both)
        return both

    ends = sorted(run.end for run in play(story))
    assert ends == ["Promoted", "Refused"]


def test_a_release_that_is_fenced_while_it_claims_leaves_nothing_held() -> None:
    """Recovery would find the lead's claim, and promote what its own run gave up."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(lambda: stage.is_held("production"))
        record = Record.read(stage.scene.production.read(FRONTEND))
        await stage.hand(FRONTEND, record=record.model_copy(update={"epoch": int(stage.scene.now()) + 5}))
        await stage.ended(run)
        return stage, run

    stage, run = play(story)
    assert (run.end, stage.scene.versions_served()) == ("Fenced", ALL_OLD)
    assert not stage.is_held("production")


def test_a_release_that_is_taken_over_as_it_ends_does_not_say_promoted() -> None:
    """#releases was told already; a rollback takes it back, and its own run ends Fenced."""

    async def story(stage: Stage) -> tuple[Stage, Run, Run]:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(lambda: "complete" in stage.scene.slack.keys)
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="empty reports", requested_by="ada")
        back = stage.start(rollback, request=asked, environment="production")
        await stage.ended(run, back)
        return stage, run, back

    stage, run, back = play(story)
    assert (run.end, back.end) == ("Fenced", "RolledBack")
    assert stage.scene.versions_served() == ALL_OLD


def test_a_newer_epoch_stops_a_release_at_once() -> None:
    """Fenced: it writes nothing more, and what it had is left to whoever holds it now."""

    async def story(stage: Stage) -> tuple[Run, int, int]:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(stage.baking(FRONTEND))
        record = Record.read(stage.scene.production.read(LEAD))
        assert record.claim
        newer = record.claim.model_copy(update={"epoch": record.epoch + 100, "flow_run_id": "another"})
        await stage.hand(LEAD, record=record.model_copy(update={"epoch": newer.epoch, "claim": newer}))
        before = len(stage.scene.production.writes)
        await stage.ended(run)
        return run, before, len(stage.scene.production.writes)

    run, before, after = play(story)
    assert run.end == Fenced.__name__
    assert before == after


def test_somebody_elses_hand_interrupts() -> None:
    """What a person moved mid-bake stays as they left it, the others go back to stable, both sides are told."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(stage.baking(FRONTEND))
        theirs = next(name for name in stage.split(BACKEND) if name.endswith("-old"))
        mine = next(name for name in stage.split(BACKEND) if not name.endswith("-old"))
        await stage.hand(BACKEND, TrafficSplit(percent={theirs: 70, mine: 30}))
        await stage.ended(run)
        return stage, run

    stage, run = play(story)
    assert run.end == "Interrupted"
    assert "ada@example.com" in run.message
    assert sorted(stage.split(BACKEND).values()) == [30, 70]
    assert stage.scene.versions_served()[LEAD] == stage.scene.versions_served()[FRONTEND] == OLD
    assert "interrupted" in stage.scene.slack.keys
    assert stage.scene.pagerduty.incidents
    assert not left_behind(stage) & {"claim", "member"}
