"""Prometheus is unavailable for 10 s of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Stop Prometheus, and start it again after 10 s."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(15)
    await test_env.world.prometheus_away()
    test_env.event("Prometheus is stopped.")
    await asyncio.sleep(10)
    await test_env.world.prometheus_back()
    test_env.event("Prometheus is running again.")


SCENARIO = Scenario(
    name="telemetry_lost",
    description="Prometheus is unavailable for 10 s of the bake.",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
