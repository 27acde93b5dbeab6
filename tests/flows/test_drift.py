"""A person changed a service while traffic was pinned: refused, taken along, or left, as the policy says."""

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from emergencies import configure
from fixture import NEW, OLD, QUICK, SERVICES

from flows.hotfix import hotfix
from playbook.release.drift import DriftPolicy
from playbook.release.request import HotfixRequest

LEAD, BACKEND, FRONTEND = SERVICES
LINE = "env DB_POOL: 50 (serves: not set)"
FIX = "v20251117-hotfix1-fed987"


def env_of(test_env: TestEnvironment, service: str = BACKEND) -> dict[str, str]:
    """The variables of what serves most users."""
    state = test_env.fixture.production.services[service]
    return state.revisions[state.served.main].env


async def released(test_env: TestEnvironment, tag: str = "") -> tuple[TestEnvironment, Run]:
    """A release after one of three services was changed."""
    test_env.fixture.publish(NEW)
    configure(test_env, tag=tag, DB_POOL="50")
    return test_env, await test_env.release()


def test_drift_is_refused_before_the_lease_field_by_field() -> None:
    """Production is not touched, and the channel reads which field and what to do."""
    test_env, run = play(released)
    assert (run.end, test_env.fixture.versions_served()) == ("Refused", dict.fromkeys(SERVICES, OLD))
    assert LINE in run.message
    assert LINE in test_env.fixture.slack.text
    assert test_env.fixture.production.writes == []


@pytest.mark.parametrize(("drift", "expected"), [(DriftPolicy.TAKE, {"DB_POOL": "50"}), (DriftPolicy.LEAVE, {})])
def test_drift_is_taken_along_or_left_and_shown(drift: DriftPolicy, expected: dict[str, str]) -> None:
    """The start message and the plan on the page say which."""
    test_env, run = play(released, QUICK.model_copy(update={"drift": drift}))
    assert (run.end, env_of(test_env)) == ("Promoted", expected)
    word = "takes along" if expected else "leaves out"
    assert f"{BACKEND}: {word}" in test_env.fixture.slack.text
    pages = next(pages for key, pages in test_env.server.artifacts.items() if key.startswith("production-v"))
    assert "DB\\_POOL" in pages[-1] or "DB_POOL" in pages[-1]


def test_what_was_taken_along_and_reverted_is_taken_along_again() -> None:
    """The first release fails and its incident is resolved; the person's change is not lost with it."""
    take = QUICK.model_copy(update={"drift": DriftPolicy.TAKE})

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        configure(test_env, DB_POOL="50")
        first = await test_env.release()
        test_env.fixture.vendors["production"].pagerduty.resolve_all()
        test_env.fixture.publish("v20251117-fed987")
        return test_env, first, await test_env.release("v20251117-fed987")

    test_env, first, second = play(scenario, take)
    assert (first.end, second.end, env_of(test_env)) == ("Reverted", "Promoted", {"DB_POOL": "50"})


def test_our_own_reverted_revision_is_no_drift() -> None:
    """The policy refuses drift, and the release after a reverted one, its incident resolved, starts all the same."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        first = await test_env.release()
        test_env.fixture.vendors["production"].pagerduty.resolve_all()
        test_env.fixture.publish("v20251117-fed987")
        return first, await test_env.release("v20251117-fed987")

    first, second = play(scenario)
    assert (first.end, second.end) == ("Reverted", "Promoted")


def test_a_preview_is_left_to_itself_whatever_the_policy() -> None:
    """It has another person's tag: the release goes on, without its settings, and the tag stays."""
    test_env, run = play(lambda test_env: released(test_env, "pr-9"))
    assert (run.end, env_of(test_env)) == ("Promoted", {})
    assert "pr-9" in test_env.fixture.production.read(BACKEND).split.tags


def test_a_hotfix_is_not_stopped_by_drift() -> None:
    """It leaves the change out, and the page shows it."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        for where in ("staging", "production"):
            test_env.fixture.publish(FIX, where=where)
        configure(test_env, DB_POOL="50")
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")
        run = test_env.start(hotfix, request=asked, environment="production")
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, env_of(test_env)) == ("Promoted", {})


@pytest.mark.parametrize("drift", [DriftPolicy.REFUSE, DriftPolicy.TAKE])
def test_a_change_between_plan_and_deployment_reverts_the_release(drift: DriftPolicy) -> None:
    """What was planned on is what is deployed."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(lambda: test_env.is_held("production"))
        configure(test_env, FRONTEND, DB_POOL="50")
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario, QUICK.model_copy(update={"drift": drift}))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", dict.fromkeys(SERVICES, OLD))
    assert "its template was changed" in run.message
