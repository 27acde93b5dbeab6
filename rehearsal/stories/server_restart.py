"""Prefect's API is away for twenty seconds of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story


async def meanwhile(stage: Stage, run: Run) -> None:
    """It goes, and comes back on the same database."""
    await stage.until(run, "monitor")
    await asyncio.sleep(10)
    assert stage.server.api is not None
    await stage.server.api.stop(grace_s=2)
    stage.event("Prefect's API is away")
    await asyncio.sleep(12)
    await stage.server.start_api()
    stage.event("Prefect's API is back")


STORY = Story(
    name="server_restart",
    told="Prefect's API away for 20 s",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
