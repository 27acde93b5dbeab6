"""A shared dependency fails for some seconds of the bake, and the policy waits until stable is well."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

BEGINS_S, LASTS_S = 15, 10


async def given(test_env: TestEnvironment) -> None:
    """The environment file says what a cause that stable shares does."""
    await test_env.policy('shared_cause = "hold"\n')


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """The shared dependency is down for `LASTS_S`."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(BEGINS_S)
    await test_env.world.dependency(is_down=True)
    test_env.event("The shared dependency is down.")
    await asyncio.sleep(LASTS_S)
    await test_env.world.dependency(is_down=False)
    test_env.event("The shared dependency is well again.")


def then(result: ScenarioResult) -> None:
    """Promoted by what was seen beside the outage; it failed requests of users, and the canary was not blamed."""
    checks.promoted(result)
    result.expect(result.requests["failed"] > 0, "no request failed, so the outage proves nothing")


SCENARIO = Scenario(
    name="shared_outage_held",
    description="A shared dependency fails for 10 s, and the policy holds for a cause that stable shares.",
    ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=then,
    timeout_s=480,
)
