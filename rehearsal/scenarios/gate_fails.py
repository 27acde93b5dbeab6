"""No person is on call: the release is refused before anything is written."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def given(test_env: TestEnvironment) -> None:
    """PagerDuty's escalation policy is empty."""
    await test_env.world.on_call()


def then(result: ScenarioResult) -> None:
    """Refused with the item and what to do; no service was written to, and ``#releases`` knows it."""
    checks.nothing_written(result, "On-call engineer available for the next 2 hours: no person is on call")
    result.expect("override each item with a name and a reason: on_call" in result.message, result.message)


SCENARIO = Scenario(
    name="gate_fails",
    description="No person is on call for the next two hours.",
    ends="Refused",
    users_per_s=0,
    given=given,
    then=then,
)
