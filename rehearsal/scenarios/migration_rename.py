"""The playbook's own example (4, scenario 3): the rename of a field on every user is undone."""

from rehearsal import checks, database
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment

USERS = 3000


async def given(test_env: TestEnvironment) -> None:
    """Three thousand users with the new name of the field."""
    await database.with_users(test_env, USERS)


def starts(test_env: TestEnvironment, version: str) -> Start:
    """The last migration is taken back."""
    return "migration-rollback/production", {
        "request": {"reason": "reports come out empty since the rename", "requested_by": "rehearsal"}
    }


def then(result: ScenarioResult) -> None:
    """Every user has the old name again, once; the ledger says so; users are served as before; everybody was told."""
    undone(result, USERS)
    result.expect(
        not result.words("pagerduty") or "trigger" not in str(result.words("pagerduty")), "somebody was paged"
    )
    checks.told_once(result, "slack", "WRITES ARE BEING STOPPED")
    checks.told_once(result, "slack", "MIGRATION ROLLED BACK")


def undone(result: ScenarioResult, users: int) -> None:
    """The data is as it was before the rename, and the backend serves what it served."""
    found = database.renamed(result.mongodb_uri)
    result.expect(found == (users, 0), f"{found[0]} users have the old field and {found[1]} the new one")
    result.expect(not database.applied(result.mongodb_uri), f"the ledger has {database.applied(result.mongodb_uri)}")
    result.expect(result.after == result.before, f"users are on {result.after}")
    proofs = result.steps_named("prove that writes stop")
    changes = result.steps_named(f"undo {database.RENAME}")
    result.expect(bool(proofs and changes), "no step proved that writes stop, or none changed the data")
    if proofs and changes:
        result.expect(proofs[0].ended_at_s <= changes[0].started_at_s, "the data was changed before writes were off")


STORY = Scenario(
    name="migration_rename",
    told="a rename on every user is undone",
    ends="RolledBack",
    users_per_s=0,
    given=given,
    starts=starts,
    then=then,
)
