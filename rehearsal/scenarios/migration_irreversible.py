"""A migration without a way back: the first run is denied. In the second, after two approvals, a backup is restored to
another cluster, verified, and production is switched to it."""

from rehearsal import checks, database
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios.migration_rename import starts
from rehearsal.test_environment import PRODUCTION, TestEnvironment


async def answer(test_env: TestEnvironment, run: Run, word: str, reason: str) -> None:
    """Answer the form of the paused run, as a person does in the UI."""
    await test_env.until_state(run, "PAUSED")
    taken = await test_env.prefect.answer(run.id, {"answer": word, "approver": "Ada", "reason": reason})
    test_env.event(f"Ada answers {word}; Prefect says {taken}.")


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Deny the first run. Then start a second one and approve it twice."""
    await answer(test_env, run, "no", "first ask the users who made the two reports")
    refused = await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(f"After the denial the run ended as {refused.state}: {refused.message}")
    if refused.state != "Refused" or await test_env.world.vendor_calls("atlas"):
        raise AssertionError(
            f"after the denial the run ended as {refused.state}, expected Refused without calls to Atlas"
        )
    again = await test_env.prefect.start(*starts(test_env, ""))
    await answer(test_env, again, "yes", "the reports can be made again")
    await test_env.until(again, "verify restore")
    await answer(test_env, again, "yes", "it is the right data")
    return again


def then(result: ScenarioResult) -> None:
    """The backend reads the restored cluster, the original cluster is unchanged, and a message says who approved."""
    restored, kept = database.rows(result.restored_uri), database.rows(result.mongodb_uri)
    result.expect(restored == (20, 20), f"{restored[0]} of {restored[1]} restored data sets have their rows")
    result.expect(kept == (0, 20), f"the original cluster was changed: {kept}")
    serving = next(iter(result.after[database.BACKEND]))
    result.expect("-restored-" in serving, f"the backend serves {serving}, which reads the original cluster")
    result.expect(
        any(f"projects/{PRODUCTION}/secrets/mongodb-uri" in w["resource"] for w in result.writes),
        "the connection string was not stored as a new secret version",
    )
    checks.sent_once(result, "slack", "Ada said yes: it is the right data")
    result.expect(len(result.words("atlas")) == 1, f"{len(result.words('atlas'))} restores were started, expected 1")


SCENARIO = Scenario(
    name="migration_irreversible",
    description="A migration without a way back is undone from a backup, after one denial and two approvals.",
    ends="RolledBack",
    users_per_s=0,
    given=database.with_rows_dropped,
    starts=starts,
    meanwhile=meanwhile,
    then=then,
)
