"""Prometheus is away for ten seconds of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """It goes, and comes back."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(15)
    await test_env.world.prometheus_away()
    test_env.event("Prometheus is away")
    await asyncio.sleep(10)
    await test_env.world.prometheus_back()
    test_env.event("Prometheus is back")


STORY = Scenario(
    name="telemetry_lost",
    told="Prometheus away for 10 s of the bake",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
