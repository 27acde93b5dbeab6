"""A rollback starts at once although releases are drained, fifty are waiting, and the worker for releases is gone."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.server import POOL
from rehearsal.test_environment import SERVICES, TestEnvironment

WAITING = 50
STARTS_WITHIN_S = 10.0
"""From the request to the first line of the flow: the worker polls every second, and a Python process starts."""


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Promote the release, take the worker away, and roll back. The rollback is the run that counts."""
    promoted = await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(f"The release ended as {promoted.state}.")
    emergency = await test_env.server.start_worker("emergency")
    ordinary = test_env.server.worker
    assert ordinary is not None
    await test_env.prefect.pause_queue(POOL, "default", True)
    ordinary.process.kill()
    test_env.event("Releases are drained, and the worker of the queue default is gone.")
    try:
        version = test_env.new_version()
        for _ in range(WAITING):
            await test_env.prefect.start("release/production", test_env.request(version))
        test_env.event(f"{WAITING} releases are waiting.")
        request = {"symptom": "Error rate 0.1-0.5%", "reason": "some reports are empty", "requested_by": "rehearsal"}
        rollback = await test_env.prefect.start("rollback/production", {"request": request})
        return await test_env.prefect.wait(rollback.id, 120)
    finally:
        await emergency.stop()
        await test_env.prefect.cancel_all()
        await test_env.prefect.pause_queue(POOL, "default", False)
        await test_env.server.start_worker()
        await asyncio.sleep(1)


def then(result: ScenarioResult) -> None:
    """Every service serves its earlier revision, and nothing waited for the releases."""
    for service in SERVICES:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
    waited_s = (result.run.started_at_s or result.ended_at_s) - result.run.created_at_s
    result.expect(waited_s < STARTS_WITHIN_S, f"the rollback started {waited_s:.0f} s after it was asked for")
    checks.sent_once(result, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")


SCENARIO = Scenario(
    name="emergency_lane",
    description="A rollback starts while releases are drained, 50 are waiting, and their worker is gone.",
    ends="RolledBack",
    meanwhile=meanwhile,
    then=then,
)
