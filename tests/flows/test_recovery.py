"""What a recovery finds, and what people read of a release that lost its process."""

import asyncio
from collections.abc import Callable
from unittest.mock import patch

from cloud import Behaviour
from driver import Run, Stage, play
from scene import NEW, SERVICES
from wire import PROCESS

from flows.recovery import recovery
from playbook.claim import Claim, Decision, Member, Record
from playbook.messages import Page
from playbook.traffic import ServiceSnapshot

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
