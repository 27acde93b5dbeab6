"""The worker is stopped with SIGTERM: Prefect ends its flow runs without calling a hook."""

import asyncio
import os
import signal

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Restart the worker without draining it first."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    assert test_env.server.worker is not None
    os.kill(test_env.server.worker.pid, signal.SIGTERM)
    test_env.event("The worker gets SIGTERM.")
    await test_env.server.worker.process.wait()
    await test_env.server.start_worker()
    test_env.event("Another worker is running.")


SCENARIO = Scenario(
    name="worker_restarted",
    description="The worker is restarted during the bake, and recovery finishes the release.",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
