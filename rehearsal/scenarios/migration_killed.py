"""The process of a migration rollback is killed between two batches, and recovery starts it again."""

import asyncio

from rehearsal import database
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios.migration_rename import starts, undone
from rehearsal.test_environment import TestEnvironment

USERS = 8000
LOOK_S = 0.1


async def given(test_env: TestEnvironment) -> None:
    """Insert users for forty batches."""
    await database.with_users(test_env, USERS)


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Send SIGKILL once some documents are changed and others are not. The run that recovery starts counts."""
    for _ in range(int(SCENARIO.timeout_s / LOOK_S)):
        old, new = await asyncio.to_thread(database.renamed, test_env.world.mongodb_uri)
        if old:
            break
        await asyncio.sleep(LOOK_S)
    test_env.kill(run)
    old, new = await asyncio.to_thread(database.renamed, test_env.world.mongodb_uri)
    test_env.event(f"At the kill {old} users have the old field and {new} the new one.")
    if not (old and new):
        raise AssertionError("the process was not killed in the middle of the batches")
    for _ in range(int(SCENARIO.timeout_s)):
        others = [one for one in await test_env.prefect.runs_of("migration-rollback/production") if one.id != run.id]
        later = [one for one in others if one.created_at_s > run.created_at_s]
        if later:
            return later[-1]
        await asyncio.sleep(1)
    raise TimeoutError("recovery did not start the migration rollback again")


def then(result: ScenarioResult) -> None:
    """Every user has the old field again, and the second run continued from a checkpoint."""
    undone(result, USERS)
    result.expect(any("goes on" in line for line in result.logs), "the second run did not continue from a checkpoint")


SCENARIO = Scenario(
    name="migration_killed",
    description="The process of a migration rollback is killed between two batches, and a second run finishes it.",
    ends="RolledBack",
    users_per_s=0,
    given=given,
    starts=starts,
    meanwhile=meanwhile,
    then=then,
)
