"""Prometheus goes in the middle of the bake and does not come back."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """It goes for good."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(15)
    await test_env.world.prometheus_away()
    test_env.event("Prometheus is away, for good")


def then(result: ScenarioResult) -> None:
    """A person was asked, nobody came; no evidence is neither health nor guilt."""
    checks.reverted(result, because="No evidence")


STORY = Scenario(
    name="telemetry_gone",
    told="Prometheus away for good",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
