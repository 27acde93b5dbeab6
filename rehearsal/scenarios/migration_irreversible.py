"""A migration that cannot be undone: after a no everything is opened again as it was found; after two yeses a backup
is restored beside production, verified, and production is pointed at it."""

from rehearsal import checks, database
from rehearsal.prefect_api import Run
from rehearsal.scenario import PRODUCTION, Scenario, ScenarioResult
from rehearsal.scenarios.migration_rename import starts
from rehearsal.test_environment import TestEnvironment


async def answer(test_env: TestEnvironment, run: Run, word: str, reason: str) -> None:
    """What a person fills into the form of the paused run."""
    await test_env.until_state(run, "PAUSED")
    taken = await test_env.prefect.answer(run.id, {"answer": word, "approver": "Ada", "reason": reason})
    test_env.event(f"Ada answered {word}: {taken}")


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """First a no, which ends that run; then somebody starts it again, and Ada says yes twice."""
    await answer(test_env, run, "no", "first ask the users who made the two reports")
    refused = await test_env.prefect.wait(run.id, STORY.timeout_s)
    test_env.event(f"after the no it ended {refused.state}: {refused.message}")
    if refused.state != "Refused" or await test_env.world.told("atlas"):
        raise AssertionError(f"after the no it ended {refused.state}, and Atlas was told something")
    again = await test_env.prefect.start(*starts(test_env, ""))
    await answer(test_env, again, "yes", "the reports can be made again")
    await test_env.until(again, "verify restore")
    await answer(test_env, again, "yes", "it is the right data")
    return again


def then(result: ScenarioResult) -> None:
    """Production's own cluster was not touched; the backend's copy reads the restored one; who agreed is told."""
    restored, kept = database.rows(result.restored_uri), database.rows(result.mongodb_uri)
    result.expect(restored == (20, 20), f"{restored[0]} of {restored[1]} restored data sets have their rows")
    result.expect(kept == (0, 20), f"production's own cluster was changed: {kept}")
    serving = next(iter(result.after[database.BACKEND]))
    result.expect("-restored-" in serving, f"the backend serves {serving}, which reads the old database")
    result.expect(
        any(f"projects/{PRODUCTION}/secrets/mongodb-uri" in w["resource"] for w in result.writes), "no new secret"
    )
    checks.told_once(result, "slack", "Ada said yes: it is the right data")
    result.expect(len(result.words("atlas")) == 1, f"{len(result.words('atlas'))} restores were started")


STORY = Scenario(
    name="migration_irreversible",
    told="a no, then two yeses: a backup is restored",
    ends="RolledBack",
    users_per_s=0,
    given=database.with_rows_dropped,
    starts=starts,
    meanwhile=meanwhile,
    then=then,
)
