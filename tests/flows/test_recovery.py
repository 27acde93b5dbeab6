"""What a recovery finds, and what people read of a release that lost its process."""

from collections.abc import Callable

from cloud import Behaviour
from driver import Stage, play
from scene import NEW, SERVICES

from playbook.claim import Claim, Decision, Record
from playbook.messages import Page

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
