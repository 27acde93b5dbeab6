"""The process of the release is killed in the middle of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """SIGKILL, twenty seconds into the bake."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(20)
    test_env.kill(run)


def then(result: ScenarioResult) -> None:
    """Promoted all the same, and nobody had to wait long for somebody to go on."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.WORKER_LIVES_S)


STORY = Scenario(
    name="killed",
    told="SIGKILL of the flow's process mid-bake",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
