"""The release is cancelled during the bake."""

import asyncio
from functools import partial

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Cancel the run through the API, as the button in the UI does."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    await test_env.prefect.cancel(run.id)
    test_env.event("The release is cancelled.")


SCENARIO = Scenario(
    name="cancelled",
    description="The release is cancelled during the bake, and recovery reverts it.",
    ends="Cancelled",
    recovery_ends="Reverted",
    meanwhile=meanwhile,
    then=partial(checks.reverted, because="cancelled"),
)
