"""`shared_cause = "hold"`: a dependency fails for canary and stable alike, and the release waits until it is well."""

import math

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, QUICK

from playbook.analysis.policy import SharedCause

HOLD = QUICK.model_copy(
    update={
        "shared_cause": SharedCause.HOLD,
        "bake_s": 90,
        "bake_max_s": 180,
        "horizon_s": 90,
        "scrape_s": 1,
        "tick_s": 2,
        "gate_deadline_s": 120,
    }
)


def outage(from_s: float, for_s: float) -> tuple[TestEnvironment, Run]:
    """A release whose users see a fifth of all requests fail, so many seconds after the canary has its share."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(lambda: "the canary serves" in pages(test_env) or run.task.done())
        at_s = test_env.fixture.now() + from_s
        test_env.fixture.telemetry["production"].outage = (at_s, at_s + for_s)
        await test_env.ended(run)
        return test_env, run

    return play(scenario, HOLD)


def pages(test_env: TestEnvironment) -> str:
    """Every page of the release to production so far."""
    return "\n".join(
        page for key, all_of in test_env.server.artifacts.items() if "production" in key for page in all_of
    )


@pytest.mark.parametrize(
    ("from_s", "for_s", "served"),
    [(20, 10, NEW), (30, 75, NEW), (30, math.inf, OLD)],
    ids=["over in the bake", "over after the bake", "never over"],
)
def test_a_shared_outage_is_waited_for_until_the_gates_deadline(from_s: float, for_s: float, served: str) -> None:
    """No person is asked, people are told, and the new version is promoted only if it was judged without the outage."""
    test_env, run = outage(from_s, for_s)
    assert run.end == ("Promoted" if served == NEW else "Reverted"), run.message
    assert set(test_env.fixture.versions_served().values()) == {served}
    assert "Stable fails too, for" in test_env.fixture.slack.text
    assert ("RELEASE HELD for stable, until" in test_env.fixture.slack.text) == (from_s + for_s > HOLD.bake_s)
    assert test_env.server.forms == []
    assert served == NEW or "No decision by the deadline" in run.message


def test_a_canary_that_fails_alone_is_reverted_all_the_same() -> None:
    """Nothing is waited for where stable is well."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW, {"ethixai-backend": Behaviour(errors=0.2)})
        return await test_env.release()

    run = play(scenario, HOLD)
    assert run.end == "Reverted"
    assert "is above 0.5 %" in run.message
