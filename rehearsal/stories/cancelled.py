"""Somebody cancels the release in the middle of the bake."""

import asyncio
from functools import partial

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story


async def meanwhile(stage: Stage, run: Run) -> None:
    """Cancelled through the API, as the UI's button does."""
    await stage.until(run, "monitor")
    await asyncio.sleep(5)
    await stage.prefect.cancel(run.id)
    stage.event("cancelled")


STORY = Story(
    name="cancelled",
    told="cancelled from the API mid-bake",
    ends="Cancelled",
    recovery_ends="Reverted",
    meanwhile=meanwhile,
    then=partial(checks.reverted, because="cancelled"),
)
