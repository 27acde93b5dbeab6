"""Prometheus becomes unavailable during the bake and stays so."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Stop Prometheus."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(15)
    await test_env.world.prometheus_away()
    test_env.event("Prometheus is stopped.")


def then(result: ScenarioResult) -> None:
    """Reverted for lack of evidence, after a gate that no person answered."""
    checks.reverted(result, because="No evidence")


SCENARIO = Scenario(
    name="telemetry_gone",
    description="Prometheus becomes unavailable during the bake and stays so.",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
