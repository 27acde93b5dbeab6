"""A person pauses the run in the UI during the bake and resumes it: the bake goes on to its end."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

AWAY_S = 40


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Pause the run, and resume it once people have been told."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    await test_env.prefect.pause(run.id, 300)
    test_env.event("The run is paused in the UI.")
    await asyncio.sleep(AWAY_S)
    await test_env.prefect.resume(run.id)
    test_env.event("The run is resumed in the UI.")


def then(result: ScenarioResult) -> None:
    """Promoted by the run itself, and both were told."""
    checks.promoted(result)
    checks.sent_once(result, "slack", "PRODUCTION RELEASE PAUSED until")
    checks.sent_once(result, "slack", "PRODUCTION RELEASE RESUMED")


SCENARIO = Scenario(
    name="paused_resumed",
    description="The run is paused in the UI during the bake and resumed.",
    ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
