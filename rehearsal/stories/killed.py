"""The process of the release is killed in the middle of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale


async def meanwhile(stage: Stage, run: Run) -> None:
    """SIGKILL, twenty seconds into the bake."""
    await stage.until(run, "monitor")
    await asyncio.sleep(20)
    stage.kill(run)


def then(tale: Tale) -> None:
    """Promoted all the same, and nobody had to wait long for somebody to go on."""
    checks.promoted(tale)
    checks.taken_over_within(tale, checks.WORKER_LIVES_S)


STORY = Story(
    name="killed",
    told="SIGKILL of the flow's process mid-bake",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
