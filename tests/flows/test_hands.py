"""Another person moves traffic after a service's last step: no message says that users are where they are not."""

import asyncio
from collections.abc import Callable

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES

from flows.hotfix import hotfix
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Decision
from playbook.lease.record import Record
from playbook.release.request import HotfixRequest, RollbackRequest
from playbook.release.traffic import TrafficSplit

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
ALL_OLD = dict.fromkeys(SERVICES, OLD)


def promoted(test_env: TestEnvironment, service: str) -> Callable[[], bool]:
    """Whether all users of a production service have left the old revision."""
    return lambda: not any("old" in revision for revision in test_env.split(service))


def good(test_env: TestEnvironment, service: str) -> list[str]:
    """What is written down as good on a production service."""
    return [one.release for one in Record.read(test_env.fixture.production.read(service)).last_good]


async def touched(
    test_env: TestEnvironment, run: Run, service: str, when: Callable[[], bool], seconds: float = 0
) -> None:
    """A person puts a service back so many seconds after that, and the run comes to its end."""
    await test_env.until(when)
    await asyncio.sleep(seconds)
    await test_env.out_of_band(service, TrafficSplit.all_to(f"{service}-00001-old"))
    await test_env.ended(run)


@pytest.mark.parametrize("service", [LEAD, BACKEND])
def test_a_hand_after_a_services_promotion_ends_no_release_promoted(service: str) -> None:
    """What the person set stays, the others go back to stable, and nothing is good that nobody serves."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await touched(test_env, run, service, promoted(test_env, service))
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Interrupted", ALL_OLD)
    assert "ada@example.com" in run.message
    assert "complete" not in test_env.fixture.slack.keys
    assert not any(NEW in good(test_env, one) for one in SERVICES)
    assert not test_env.is_held("production")


def test_a_hand_during_a_hotfixs_first_minutes_is_seen() -> None:
    """Nobody reads HOTFIX DEPLOYED."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        for where in ("staging", "production"):
            test_env.fixture.publish(FIX, where=where)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")
        run = test_env.start(hotfix, request=asked, environment="production")
        await touched(test_env, run, BACKEND, promoted(test_env, FRONTEND), seconds=3)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Interrupted", ALL_OLD)
    assert "HOTFIX DEPLOYED" not in test_env.fixture.slack.text
    assert good(test_env, BACKEND) == []


def test_a_hand_after_a_revert_is_told_with_it() -> None:
    """The page, the ticket and #releases come as ever, and the run says whose hand it was."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        run = test_env.start_release()

        def is_back() -> bool:
            lease = Record.read(test_env.fixture.production.read(LEAD)).lease
            is_reverting = lease is not None and lease.decision is Decision.REVERT
            return is_reverting and all(test_env.split(one) == {f"{one}-00001-old": 100} for one in SERVICES)

        await test_env.until(is_back)
        canary = next(name for name in test_env.fixture.production.services[FRONTEND].revisions if "abc123" in name)
        await test_env.out_of_band(FRONTEND, TrafficSplit.all_to(canary))
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Interrupted", {**ALL_OLD, FRONTEND: NEW})
    assert "above 0.5 %" in run.message
    assert "ada@example.com" in run.message
    assert "CHECK AT ONCE" in test_env.fixture.slack.text
    assert (len(test_env.fixture.pagerduty.incidents), len(test_env.fixture.github.tickets)) == (1, 1)
    assert not test_env.is_held("production")


def test_a_hand_in_a_rollbacks_first_second_keeps_no_other_service_waiting() -> None:
    """In an incident two people act at once: what the other one set stays, and the rollback itself takes the other
    services back. No recovery is needed for it."""
    newest = "v20251123-def456"

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        for version in (NEW, newest):
            test_env.fixture.publish(version)
            await test_env.release(version)
            await test_env.catch_up()
        asked = RollbackRequest(symptom=Symptom.ERRORS_IN_BAND, reason="reports are empty", requested_by="ada")
        run = test_env.start(rollback, request=asked, environment="production")
        await test_env.until(lambda: test_env.fixture.production.writes[-1].by == run.process.name)
        await test_env.out_of_band(LEAD, TrafficSplit.all_to(f"{LEAD}-00001-old"))
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Interrupted", {**dict.fromkeys(SERVICES, NEW), LEAD: OLD})
    assert "ada@example.com" in run.message
    assert not test_env.is_held("production")
