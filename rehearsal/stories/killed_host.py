"""The host dies: worker and flow together, without a word."""

import asyncio
import os
import signal

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale


async def meanwhile(stage: Stage, run: Run) -> None:
    """SIGKILL of both; another worker stands by, as on another host."""
    await stage.until(run, "monitor")
    await asyncio.sleep(10)
    assert stage.server.worker is not None
    os.kill(stage.server.worker.pid, signal.SIGKILL)
    stage.kill(run)
    await stage.server.start_worker()
    stage.event("another worker is there")


def then(tale: Tale) -> None:
    """Promoted all the same, and nobody had to wait long for somebody to go on."""
    checks.promoted(tale)
    checks.taken_over_within(tale, checks.HOST_DIED_S)


STORY = Story(
    name="killed_host",
    told="worker and flow die together",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
