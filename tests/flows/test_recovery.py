"""What a recovery finds, and what people read of a release that lost its process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from unittest.mock import patch

import pytest
from cloud import Behaviour
from driver import Run, Stage, play
from emergencies import Hotfix, Rollback
from faults import Fault
from plots import HEALTHY, Plot
from scene import NEW, SERVICES
from undoings import UNDOINGS
from wire import PROCESS, Call, Process

from blocks.environment import Environment
from flows.recovery import recovery
from playbook.claim import Claim, Decision, Member, Record
from playbook.messages import Page
from playbook.traffic import ServiceSnapshot
from tasks.beat import BEAT

LEAD, BACKEND, FRONTEND = SERVICES


async def cancelled_once(stage: Stage, is_so: Callable[[Claim], bool], backend: Behaviour) -> Page:
    """A release that is cancelled and dies once its claim is so; the page of whoever took it back."""
    stage.scene.publish(NEW, {BACKEND: backend})
    run = stage.start_release()

    def stands() -> bool:
        claim = Record.read(stage.scene.production.read(LEAD)).claim
        return claim is not None and is_so(claim)

    await stage.until(stands)
    run.process.die()
    stage.cancel(run)
    await stage.recover()
    await stage.catch_up()
    (page,) = stage.scene.pagerduty.incidents.values()
    return page


def impact(is_so: Callable[[Claim], bool], backend: Behaviour) -> str:
    """What that page says of the users."""
    return play(lambda stage: cancelled_once(stage, is_so, backend)).details["impact"]


def test_what_was_measured_outlives_the_process_that_measured_it() -> None:
    """It died once its revert was decided: the page is as grave as it would have been, with the errors counted."""
    bad = Behaviour(errors=0.05)
    page = play(lambda stage: cancelled_once(stage, lambda claim: claim.decision is Decision.REVERT, bad))
    assert page.severity == "P1"
    assert "18 of 376 requests" in page.summary
    assert page.details["impact"] == "10 % of users on the new revisions; 18 of their 1152 requests failed"


def test_what_was_not_measured_is_said_to_be_so() -> None:
    """It died before the judge had spoken: no number is made up."""
    said = impact(lambda claim: claim.bake_start_s is not None, Behaviour())
    assert said == "10 % of users on the new revisions; how many of their requests failed was not measured"


def test_an_impact_begins_with_the_first_user() -> None:
    """It died between the lead's first user and the bake's start: "no user" would be wrong."""
    said = impact(lambda claim: claim.decision is Decision.BAKE, Behaviour())
    assert said == "10 % of users on the new revisions; how many of their requests failed was not measured"


def test_nobody_was_hurt_by_what_nobody_had() -> None:
    """It died while its revisions were being started."""
    assert impact(lambda claim: claim.decision is Decision.DEPLOY, Behaviour()).startswith("none")


def test_who_was_promoted_is_no_canary() -> None:
    """Smoke tests failed once all users had it, and the process died: all of them had it."""
    said = impact(lambda claim: claim.decision is Decision.REVERT, Behaviour(smoke_serving=False))
    assert said == "100 % of users on the new revisions; 0 of the canary's 3552 requests failed"


def test_a_release_that_went_on_while_it_was_judged_is_reverted_from_where_it_is() -> None:
    """Cancelled while it deployed, it shows its canary by the time that the recovery has asked Prefect: users had it,
    and the page says so."""
    hung = [Fault.HUNG]

    def once(process: Process, call: Call) -> Fault | None:
        is_it = call.method == "read flow run" and process.name.startswith(recovery.name)
        return hung.pop() if is_it and hung else None

    async def story(stage: Stage) -> tuple[Run, Run, Page]:
        stage.scene.publish(NEW)
        stage.scene.wire.faults.append(once)
        running = stage.start_release()
        await stage.until(lambda: Record.read(stage.scene.production.read(LEAD)).claim is not None)
        stage.cancel(running)
        looking = stage.start(recovery, environment="production")
        await stage.ended(looking, running)
        await stage.catch_up()
        (page,) = stage.scene.pagerduty.incidents.values()
        return looking, running, page

    looking, running, page = play(story)
    assert (looking.end, running.end) == ("Reverted", "Fenced")
    assert page.details["impact"].startswith("10 % of users")


def test_a_member_that_was_read_late_is_no_orphan() -> None:
    """A recovery reads the lead before a release claims it, and a member after: the release goes on untouched."""

    async def story(stage: Stage) -> tuple[Stage, Run, Run]:
        cloud = stage.scene.production
        read, held = cloud.snapshot, asyncio.Event()

        async def late(service: str) -> ServiceSnapshot:
            if service == FRONTEND and PROCESS.get().name.startswith(recovery.name):
                await held.wait()
            return await read(service)

        stage.scene.publish(NEW)
        with patch.object(cloud, "snapshot", late):
            looking = stage.start(recovery, environment="production")
            await asyncio.sleep(1)
            running = stage.start_release()
            await stage.until(lambda: bool(Record.read(cloud.read(FRONTEND)).member))
            held.set()
            await stage.ended(looking, running)
        return stage, looking, running

    stage, looking, running = play(story)
    assert (looking.end, running.end) == ("Passed", "Promoted")
    assert not [write for write in stage.scene.production.writes if write.by == looking.process.name]


def test_an_orphan_is_freed() -> None:
    """Its lead holds nothing: it is back on its own stable split."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stable = stage.scene.production.read(FRONTEND).pinned
        gone = Member(release_id=f"{NEW}-1f2e3d", epoch=1, lead=LEAD, stable=stable)
        await stage.hand(FRONTEND, record=Record(member=gone, epoch=1))
        run = stage.start(recovery, environment="production")
        await stage.ended(run)
        return stage, run

    stage, run = play(story)
    assert run.end == "Passed"
    assert not stage.is_held("production")


def gaps(stage: Stage) -> list[float]:
    """The seconds from each beat of the release to production to the next, from its claim to its end."""
    cloud = stage.scene.production
    claimed_s = next(write.at_s for write in cloud.writes if write.change.record.member)
    at_s = [at_s for at_s, _, name in stage.server.events if name.startswith("release.production.")]
    return [after - before for before, after in pairwise([claimed_s, *at_s])]


def test_a_desk_that_hangs_is_no_silence() -> None:
    """Nobody answers in #releases, and the release gives its signs of life from its claim on: no recovery takes it."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW)
        stage.scene.wire.faults.append(lambda process, call: Fault.HUNG if call.system == "slack" else None)
        return stage, await stage.release()

    stage, run = play(story)
    assert run.end == "Promoted"
    assert max(gaps(stage)) <= stage.scene.environments["production"].policy.beat_s + 1


@contextlib.asynccontextmanager
async def no_heart(env: Environment, claim: Claim) -> AsyncIterator[None]:
    """In place of `beating`: only what a task says itself is heard."""
    yield


TAKERS = [
    ("release", HEALTHY),
    ("hotfix", Hotfix("hotfix")),
    ("rollback", Rollback("rollback")),
    ("migration_rollback", UNDOINGS[0]),
]


@pytest.mark.parametrize(("module", "plot"), TAKERS, ids=[module for module, _ in TAKERS])
def test_whoever_takes_a_claim_has_beaten(module: str, plot: Plot) -> None:
    """Before it does anything else: one that is killed right then is missed."""

    async def story(stage: Stage) -> list[str]:
        await plot.begin(stage, {})
        return [name for _, event, name in stage.server.events if event == BEAT]

    with patch(f"flows.{module}.beating", no_heart):
        assert [name for name in play(story) if name.startswith("release.production.")]


def test_whoever_takes_a_claim_over_has_beaten() -> None:
    """So that a recovery which is killed is missed in its turn: before it writes, and once it has."""

    async def story(stage: Stage) -> list[float]:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(stage.baking(LEAD))
        run.process.die()
        died_s = stage.scene.now()
        await stage.recover()
        return [at_s for at_s, event, _ in stage.server.events if event == BEAT and at_s > died_s]

    with patch("flows.recovery.beating", no_heart):
        assert len(play(story)) == 2


def beats_of(stage: Stage, claim: Claim) -> list[float]:
    """When a release to production gave a sign of life, in unix seconds."""
    name = f"release.production.{claim.release_id}"
    return [at_s for at_s, event, whose in stage.server.events if event == BEAT and whose == name]


@pytest.mark.parametrize(("module", "plot"), TAKERS, ids=[module for module, _ in TAKERS])
def test_a_claim_that_is_written_is_missed_at_once(module: str, plot: Plot) -> None:
    """It stands on the lead before that is served; a process that is killed in between is noticed by its silence."""

    async def story(stage: Stage) -> tuple[float, list[float]]:
        await plot.begin(stage, {})
        claim, at_s = next(
            (held, one.at_s) for one in stage.scene.production.writes if (held := one.change.record.claim) is not None
        )
        return at_s, beats_of(stage, claim)

    written_s, beats_s = play(story)
    assert written_s - 1 < beats_s[0] <= written_s


@pytest.mark.parametrize("is_preempting", [False, True], ids=["its own", "of a release that gives way"])
def test_a_claim_that_is_served_late_is_no_silence(is_preempting: bool) -> None:
    """Cloud Run takes a minute for each write: a recovery that looks meanwhile leaves the rollback alone."""
    plot = Rollback("rollback", is_preempting)

    async def story(stage: Stage) -> tuple[Run, Run]:
        await plot.set_the_scene(stage)
        flow, request = plot.asked()
        with patch("cloud.RECONCILE_S", 60):
            run = stage.start(flow, request=request, environment="production")
            return run, await looked_at(stage, run, "production")

    run, looking = play(story)
    assert (run.end, looking.end, looking.message) == ("RolledBack", "Passed", "Nothing is lost in production.")


def test_a_release_whose_claim_is_served_late_is_left_alone_too() -> None:
    """Its claim of three services takes three minutes."""

    async def story(stage: Stage) -> tuple[Run, Run]:
        stage.scene.publish(NEW, where="staging")
        with patch("cloud.RECONCILE_S", 60):
            run = stage.start_release(environment="staging")
            return run, await looked_at(stage, run, "staging")

    run, looking = play(story)
    assert (run.end, looking.end) == ("Promoted", "Passed")


async def looked_at(stage: Stage, run: Run, where: str) -> Run:
    """A recovery that looks when the claim of ``run`` has stood there for longer than a silence; both have ended."""

    def stands() -> bool:
        claim = Record.read(stage.scene.clouds[where].read(LEAD)).claim
        return claim is not None and claim.flow_run_id == run.process.flow_run_id

    await stage.until(stands)
    await asyncio.sleep(45)
    looking = stage.start(recovery, environment=where)
    await stage.ended(looking, run)
    return looking
