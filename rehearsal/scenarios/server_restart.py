"""Prefect's API is unavailable for about 20 s of the bake."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Stop the API, and start it again on the same database."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    assert test_env.server.api is not None
    await test_env.server.api.stop(grace_s=2)
    test_env.event("Prefect's API is stopped.")
    await asyncio.sleep(12)
    await test_env.server.start_api()
    test_env.event("Prefect's API is running again.")


SCENARIO = Scenario(
    name="server_restart",
    description="Prefect's API is unavailable for about 20 s of the bake.",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
