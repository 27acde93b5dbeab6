"""How a migration rollback starts, stops and goes on, and what staging must have tried before."""

import pytest

from playbook.lease.lease import MigrationLease, ServiceRollout
from playbook.migration.backfill import is_known
from playbook.migration.plan import (
    Backup,
    Batch,
    Migration,
    MigrationRequest,
    MigrationRollback,
    RollbackPlan,
    SchemaRange,
    Way,
    backup_before,
)
from playbook.migration.progress import details_of, gone_on, progress_of
from playbook.release.traffic import TrafficSplit

BATCH = Batch(collection="users", match={"b": 1}, change={"$unset": {"b": ""}})
PLAN = RollbackPlan(undo=("m1",), way=Way.DOWN, schema_now=2, schema_after=1, applied_at_s=1)


def migration(name: str, *, is_reversible: bool = True) -> Migration:
    """One migration of a folder."""
    return Migration(name=name, from_schema=1, to_schema=2, is_reversible=is_reversible, up=(BATCH,), down=(BATCH,))


def lease(halted: str) -> MigrationLease:
    """A migration rollback that recovery has restarted twice."""
    request = MigrationRequest(reason="names are cut off", requested_by="Ada")
    rollout = ServiceRollout(
        service="s", from_revision="s-1", to_revision="s-2", found=TrafficSplit.all_to("s-1"), image="r@sha256:1"
    )
    return MigrationLease(
        release_id="migration-m1-1f2e3d",
        version="migration m1",
        flow_run_id="123e4567-e89b-12d3-a456-426614174000",
        epoch=100,
        rollouts=(rollout,),
        canary_percent=100,
        deadline_s=1e9,
        requested_by="Ada",
        reason=request.reason,
        migration="m1",
        halted=halted,
        restarts=2,
        details=details_of(MigrationRollback(request=request, plan=PLAN, environment="production")),
    )


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"reason": "names are cut off", "requested_by": "Ada"}, []),
        ({"requested_by": "Ada"}, ["reason"]),
        ({"reason": "names are cut off"}, ["requested_by"]),
        ({}, ["reason", "requested_by"]),
        ({"reason": "it goes on", "requested_by": "recovery", "continues": "x"}, ["reason", "requested_by"]),
    ],
    ids=["complete", "no reason", "no name", "empty", "from recovery, which may go on with one but begin none"],
)
def test_a_new_migration_rollback_needs_a_reason_and_a_person(fields: dict[str, str], missing: list[str]) -> None:
    """Each missing field is named."""
    assert [problem.split(":")[0] for problem in MigrationRequest(**fields).problems()] == missing


def test_a_run_is_named_after_the_migration_or_the_last_one() -> None:
    """As people read it in the list of runs."""
    assert MigrationRequest(migration="20251116-split").subject == "20251116-split"
    assert MigrationRequest().subject == "the last migration"


def test_a_halted_rollback_goes_on_with_its_restarts_counted_anew() -> None:
    """The person has read why it stopped; that stays in its record."""
    again = gone_on(lease("the database is away"))
    assert (again.halted, again.restarts, progress_of(again).seen) == ("", 0, "the database is away")


def test_a_rollback_that_was_not_halted_keeps_its_count_of_restarts() -> None:
    """Else recovery would restart a run that dies every time forever."""
    assert gone_on(lease("")) == lease("")


def test_a_restore_takes_the_newest_backup_from_before_the_migration() -> None:
    """A backup of the same second may have the migration in it already."""
    backups = [
        Backup(id="old", at_s=10),
        Backup(id="last", at_s=19),
        Backup(id="same", at_s=20),
        Backup(id="z", at_s=21),
    ]
    assert backup_before(backups, 20) == Backup(id="last", at_s=19)
    assert backup_before(backups, 10) is None


@pytest.mark.parametrize(
    ("now", "is_the_same"),
    [
        ("users had 10 documents and has 12", True),
        ("users had 10 documents and has 9", True),
        ("orders had 10 documents and has 11", False),
        ("users: 5 of 4 were changed", False),
    ],
)
def test_a_drift_that_a_person_has_read_is_known_whatever_its_counts(now: str, is_the_same: bool) -> None:
    """Documents expire while the person reads; another collection or another fault is news."""
    assert is_known(now, "users had 10 documents and has 11") is is_the_same


def test_code_may_read_one_schema_only() -> None:
    """Its range begins where it ends."""
    assert (str(SchemaRange(low=2, high=2)), str(SchemaRange(low=2, high=3))) == ("schema 2", "schemas 2 to 3")
