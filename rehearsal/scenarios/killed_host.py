"""A host dies: the worker and the release's process end together and report nothing."""

import asyncio
import os
import signal

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Send SIGKILL to both, then start another worker, as on another host."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    assert test_env.server.worker is not None
    os.kill(test_env.server.worker.pid, signal.SIGKILL)
    test_env.kill(run)
    await test_env.server.start_worker()
    test_env.event("Another worker is running.")


def then(result: ScenarioResult) -> None:
    """Promoted, and another process took over in time."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.HOST_DIED_S)


SCENARIO = Scenario(
    name="killed_host",
    description="The worker and the release's process are killed together, as when a host dies.",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
