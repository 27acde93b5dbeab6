"""Somebody else's hand after a service's last move: nobody is told that users are where they are not."""

import asyncio
from collections.abc import Callable

import pytest
from cloud import Behaviour
from driver import Run, Stage, play
from scene import NEW, OLD, SERVICES

from flows.hotfix import hotfix
from playbook.claim import Decision, Record
from playbook.requests import HotfixRequest
from playbook.traffic import TrafficSplit

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
ALL_OLD = dict.fromkeys(SERVICES, OLD)


def promoted(stage: Stage, service: str) -> Callable[[], bool]:
    """Whether all users of a production service have left the old revision."""
    return lambda: not any("old" in revision for revision in stage.split(service))


def good(stage: Stage, service: str) -> list[str]:
    """What is written down as good on a production service."""
    return [one.release for one in Record.read(stage.scene.production.read(service)).last_good]


async def touched(stage: Stage, run: Run, service: str, when: Callable[[], bool], seconds: float = 0) -> None:
    """A person puts a service back so many seconds after that, and the run comes to its end."""
    await stage.until(when)
    await asyncio.sleep(seconds)
    await stage.hand(service, TrafficSplit.all_to(f"{service}-00001-old"))
    await stage.ended(run)


@pytest.mark.parametrize("service", [LEAD, BACKEND])
def test_a_hand_after_a_services_promotion_ends_no_release_promoted(service: str) -> None:
    """What the person set stays, the others go back to stable, and nothing is good that nobody serves."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await touched(stage, run, service, promoted(stage, service))
        return stage, run

    stage, run = play(story)
    assert (run.end, stage.scene.versions_served()) == ("Interrupted", ALL_OLD)
    assert "ada@example.com" in run.message
    assert "complete" not in stage.scene.slack.keys
    assert not any(NEW in good(stage, one) for one in SERVICES)
    assert not stage.is_held("production")


def test_a_hand_during_a_hotfixs_first_minutes_is_seen() -> None:
    """Nobody reads HOTFIX DEPLOYED."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        for where in ("staging", "production"):
            stage.scene.publish(FIX, where=where)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")
        run = stage.start(hotfix, request=asked, environment="production")
        await touched(stage, run, BACKEND, promoted(stage, FRONTEND), seconds=3)
        return stage, run

    stage, run = play(story)
    assert (run.end, stage.scene.versions_served()) == ("Interrupted", ALL_OLD)
    assert "HOTFIX DEPLOYED" not in stage.scene.slack.text
    assert good(stage, BACKEND) == []


def test_a_hand_after_a_revert_is_told_with_it() -> None:
    """The page, the ticket and #releases come as ever, and the run says whose hand it was."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        run = stage.start_release()

        def is_back() -> bool:
            claim = Record.read(stage.scene.production.read(LEAD)).claim
            is_reverting = claim is not None and claim.decision is Decision.REVERT
            return is_reverting and all(stage.split(one) == {f"{one}-00001-old": 100} for one in SERVICES)

        await stage.until(is_back)
        canary = next(name for name in stage.scene.production.services[FRONTEND].revisions if "abc123" in name)
        await stage.hand(FRONTEND, TrafficSplit.all_to(canary))
        await stage.ended(run)
        return stage, run

    stage, run = play(story)
    assert (run.end, stage.scene.versions_served()) == ("Interrupted", {**ALL_OLD, FRONTEND: NEW})
    assert "above 0.5 %" in run.message
    assert "ada@example.com" in run.message
    assert "LOOK AT ONCE" in stage.scene.slack.text
    assert (len(stage.scene.pagerduty.incidents), len(stage.scene.github.tickets)) == (1, 1)
    assert not stage.is_held("production")
