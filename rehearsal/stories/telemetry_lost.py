"""Prometheus is away for ten seconds of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story


async def meanwhile(stage: Stage, run: Run) -> None:
    """It goes, and comes back."""
    await stage.until(run, "monitor")
    await asyncio.sleep(15)
    await stage.world.prometheus_away()
    stage.event("Prometheus is away")
    await asyncio.sleep(10)
    await stage.world.prometheus_back()
    stage.event("Prometheus is back")


STORY = Story(
    name="telemetry_lost",
    told="Prometheus away for 10 s of the bake",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
