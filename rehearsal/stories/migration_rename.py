"""The playbook's own example (4, scenario 3): the rename of a field on every user is undone."""

from rehearsal import checks, database
from rehearsal.stage import Stage
from rehearsal.story import Start, Story, Tale

USERS = 3000


async def given(stage: Stage) -> None:
    """Three thousand users with the new name of the field."""
    await database.with_users(stage, USERS)


def starts(stage: Stage, version: str) -> Start:
    """The last migration is taken back."""
    return "migration-rollback/production", {
        "request": {"reason": "reports come out empty since the rename", "requested_by": "rehearsal"}
    }


def then(tale: Tale) -> None:
    """Every user has the old name again, once; the ledger says so; users are served as before; everybody was told."""
    undone(tale, USERS)
    tale.expect(not tale.words("pagerduty") or "trigger" not in str(tale.words("pagerduty")), "somebody was paged")
    checks.told_once(tale, "slack", "WRITES ARE BEING STOPPED")
    checks.told_once(tale, "slack", "MIGRATION ROLLED BACK")


def undone(tale: Tale, users: int) -> None:
    """The data is as it was before the rename, and the backend serves what it served."""
    found = database.renamed(tale.mongodb_uri)
    tale.expect(found == (users, 0), f"{found[0]} users have the old field and {found[1]} the new one")
    tale.expect(not database.applied(tale.mongodb_uri), f"the ledger has {database.applied(tale.mongodb_uri)}")
    tale.expect(tale.after == tale.before, f"users are on {tale.after}")
    proofs = tale.steps_named("prove that writes stop")
    changes = tale.steps_named(f"undo {database.RENAME}")
    tale.expect(bool(proofs and changes), "no step proved that writes stop, or none changed the data")
    if proofs and changes:
        tale.expect(proofs[0].ended_at_s <= changes[0].started_at_s, "the data was changed before writes were off")


STORY = Story(
    name="migration_rename",
    told="a rename on every user is undone",
    ends="RolledBack",
    users_per_s=0,
    given=given,
    starts=starts,
    then=then,
)
