"""A person pauses the run in the UI during the bake and does not come back: it is held, told, and taken back."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

PAUSED_S = 50
"""As long as the person chose in the UI's dialog."""


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Pause the run as its menu in the UI does."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    await test_env.prefect.pause(run.id, PAUSED_S)
    test_env.event("The run is paused in the UI.")


def then(result: ScenarioResult) -> None:
    """People were told at once; nothing was promoted; at the deadline it went back, and the run's page says so."""
    checks.reverted(result, because="not resumed by")
    checks.sent_once(result, "slack", "PRODUCTION RELEASE PAUSED until")
    result.expect("Recovery ended release" in result.run.message, f"the paused run says: {result.run.message}")


SCENARIO = Scenario(
    name="paused",
    description="The run is paused in the UI during the bake and is not resumed.",
    ends="Reverted",
    recovery_ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
