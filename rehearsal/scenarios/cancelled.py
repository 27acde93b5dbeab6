"""Somebody cancels the release in the middle of the bake."""

import asyncio
from functools import partial

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Cancelled through the API, as the UI's button does."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    await test_env.prefect.cancel(run.id)
    test_env.event("cancelled")


STORY = Scenario(
    name="cancelled",
    told="cancelled from the API mid-bake",
    ends="Cancelled",
    recovery_ends="Reverted",
    meanwhile=meanwhile,
    then=partial(checks.reverted, because="cancelled"),
)
