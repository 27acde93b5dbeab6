"""No person is on call, and a person decides to release all the same: who and why stands wherever the release does."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment

OVERRIDE = {"item": "on_call", "by": "Ada", "reason": "Ada stays until 18:00"}
TOLD = "overridden by Ada: Ada stays until 18:00"


async def given(test_env: TestEnvironment) -> None:
    """PagerDuty's escalation policy is empty."""
    await test_env.world.on_call()


def starts(test_env: TestEnvironment, version: str) -> Start:
    """A release with an override of this one item."""
    asked = test_env.request(version, "a rehearsed release")
    return "release/production", {**asked, "request": {**asked["request"], "overrides": [OVERRIDE]}}


def then(result: ScenarioResult) -> None:
    """Promoted; the message at the start and the one at the end name the person and the reason."""
    checks.promoted(result)
    for words in ("Production release starting", "Production release complete"):
        told = [text for text in result.words("slack") if words in text]
        result.expect(any(TOLD in text for text in told), f"{words}: the override is not told: {told}")


SCENARIO = Scenario(
    name="override",
    description="No person is on call, and a person overrides that item with a name and a reason.",
    ends="Promoted",
    given=given,
    starts=starts,
    then=then,
)
