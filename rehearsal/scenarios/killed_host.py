"""The host dies: worker and flow together, without a word."""

import asyncio
import os
import signal

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """SIGKILL of both; another worker stands by, as on another host."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    assert test_env.server.worker is not None
    os.kill(test_env.server.worker.pid, signal.SIGKILL)
    test_env.kill(run)
    await test_env.server.start_worker()
    test_env.event("another worker is there")


def then(result: ScenarioResult) -> None:
    """Promoted all the same, and nobody had to wait long for somebody to go on."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.HOST_DIED_S)


STORY = Scenario(
    name="killed_host",
    told="worker and flow die together",
    ends="Promoted",
    recovery_ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
