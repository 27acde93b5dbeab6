"""Prometheus goes in the middle of the bake and does not come back."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale


async def meanwhile(stage: Stage, run: Run) -> None:
    """It goes for good."""
    await stage.until(run, "monitor")
    await asyncio.sleep(15)
    await stage.world.prometheus_away()
    stage.event("Prometheus is away, for good")


def then(tale: Tale) -> None:
    """A person was asked, nobody came; no evidence is neither health nor guilt."""
    checks.reverted(tale, because="no evidence")


STORY = Story(
    name="telemetry_gone",
    told="Prometheus away for good",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
