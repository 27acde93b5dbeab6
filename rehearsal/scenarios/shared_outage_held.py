"""A shared dependency fails for some seconds of the bake; the policy waits, and a person decides."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

BEGINS_S, LASTS_S = 15, 10
ANSWER = {"choice": "promote", "approver": "Ada", "reason": "the database was down, stable failed too"}


async def given(test_env: TestEnvironment) -> None:
    """The environment file says what a cause that stable shares does."""
    await test_env.policy('shared_cause = "hold"\n')


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """The shared dependency is down for `LASTS_S`. Ada answers the gate at the end of the bake."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(BEGINS_S)
    await test_env.world.dependency(is_down=True)
    test_env.event("The shared dependency is down.")
    await asyncio.sleep(LASTS_S)
    await test_env.world.dependency(is_down=False)
    test_env.event("The shared dependency is well again.")
    await test_env.until_state(run, "PAUSED")
    test_env.event(f"Ada answers; Prefect says {await test_env.prefect.answer(run.id, ANSWER)}")


def then(result: ScenarioResult) -> None:
    """The outage rolled nothing back. Cloud Run's own count of failed requests is held, because it is not known when it
    was beyond its limit: a person is told that stable failed too, and promotes."""
    checks.promoted(result)
    held = next((text for text in result.words("slack") if "RELEASE HELD" in text), "")
    result.expect("Stable failed meanwhile, too" in held, f"the question does not say that stable failed: {held}")
    result.expect(result.requests["failed"] > 0, "no request failed, so the outage proves nothing")


SCENARIO = Scenario(
    name="shared_outage_held",
    description="A shared dependency fails for 10 s, the policy holds for it, and a person promotes.",
    ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=then,
    timeout_s=480,
)
