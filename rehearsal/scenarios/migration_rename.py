"""The playbook's example (section 4, scenario 3): a migration that renamed a field of every user is rolled back."""

from rehearsal import checks, database
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment

USERS = 3000


async def given(test_env: TestEnvironment) -> None:
    """Insert 3,000 users with the new field."""
    await database.with_users(test_env, USERS)


def starts(test_env: TestEnvironment, version: str) -> Start:
    """Start a rollback of the last migration."""
    return "migration-rollback/production", {
        "request": {"reason": "reports come out empty since the rename", "requested_by": "rehearsal"}
    }


def then(result: ScenarioResult) -> None:
    """Every user has the old field again, the ledger is empty, traffic is as before, and the messages were sent."""
    undone(result, USERS)
    result.expect(
        not result.words("pagerduty") or "trigger" not in str(result.words("pagerduty")),
        "PagerDuty was called although nothing failed",
    )
    checks.sent_once(result, "slack", "WRITES ARE BEING STOPPED")
    checks.sent_once(result, "slack", "MIGRATION ROLLED BACK")


def undone(result: ScenarioResult, users: int) -> None:
    """The data is as it was before the rename, and all services serve what they served before."""
    found = database.renamed(result.mongodb_uri)
    result.expect(found == (users, 0), f"{found[0]} users have the old field and {found[1]} the new one")
    result.expect(
        not database.applied(result.mongodb_uri), f"the ledger still has {database.applied(result.mongodb_uri)}"
    )
    result.expect(result.after == result.before, f"the services serve {result.after}, expected {result.before}")
    proofs = result.steps_named("prove that writes stop")
    changes = result.steps_named(f"undo {database.RENAME}")
    result.expect(bool(proofs and changes), "no step proved the write freeze, or none changed the data")
    if proofs and changes:
        result.expect(proofs[0].ended_at_s <= changes[0].started_at_s, "the data was changed before the write freeze")


SCENARIO = Scenario(
    name="migration_rename",
    description="A migration that renamed a field of every user is rolled back.",
    ends="RolledBack",
    users_per_s=0,
    given=given,
    starts=starts,
    then=then,
)
