"""The worker is stopped with SIGTERM: Prefect ends its flows without a hook."""

import asyncio
import os
import signal

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """A rolling restart that nobody drained for."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    assert test_env.server.worker is not None
    os.kill(test_env.server.worker.pid, signal.SIGTERM)
    test_env.event("SIGTERM to the worker")
    await test_env.server.worker.process.wait()
    await test_env.server.start_worker()
    test_env.event("another worker is there")


STORY = Scenario(
    name="worker_restarted",
    told="SIGTERM to the worker mid-bake",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
