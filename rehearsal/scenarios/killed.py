"""The release's process is killed during the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Send SIGKILL 20 s into the bake."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(20)
    test_env.kill(run)


def then(result: ScenarioResult) -> None:
    """Promoted, and another process took over in time."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.WORKER_LIVES_S)


SCENARIO = Scenario(
    name="killed",
    description="The release's process is killed during the bake, and recovery finishes the release.",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
