"""The worker is stopped with SIGTERM: Prefect ends its flows without a hook."""

import asyncio
import os
import signal

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story


async def meanwhile(stage: Stage, run: Run) -> None:
    """A rolling restart that nobody drained for."""
    await stage.until(run, "monitor")
    await asyncio.sleep(10)
    assert stage.server.worker is not None
    os.kill(stage.server.worker.pid, signal.SIGTERM)
    stage.event("SIGTERM to the worker")
    await stage.server.worker.process.wait()
    await stage.server.start_worker()
    stage.event("another worker is there")


STORY = Story(
    name="worker_restarted",
    told="SIGTERM to the worker mid-bake",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
