"""The process of the release is killed in the middle of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story


async def meanwhile(stage: Stage, run: Run) -> None:
    """SIGKILL, twenty seconds into the bake."""
    await stage.until(run, "monitor")
    await asyncio.sleep(20)
    stage.kill(run)


STORY = Story(
    name="killed",
    told="SIGKILL of the flow's process mid-bake",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
