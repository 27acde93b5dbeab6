"""A shared dependency fails for some seconds of the bake; the policy waits until stable is well, and judges on."""

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
    """The outage rolled nothing back, and no person was asked: people were told, and the time of it does not count."""
    checks.promoted(result)
    told = "\n".join(result.words("slack"))
    result.expect("Stable fails too, for" in told, f"people were not told that stable failed: {told}")
    result.expect("RELEASE HELD" not in told, "a person was asked")
    result.expect(result.requests["failed"] > 0, "no request failed, so the outage proves nothing")


SCENARIO = Scenario(
    name="shared_outage_held",
    description="A shared dependency fails for 10 s, the policy holds for it, and the judge goes on without that time.",
    ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=then,
)
