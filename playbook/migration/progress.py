"""How far a migration rollback is: what its lease carries for this folder alone."""

from pydantic import JsonValue

from playbook.lease.lease import MigrationLease
from playbook.migration.plan import MigrationRollback


def progress_of(lease: MigrationLease) -> MigrationRollback:
    """How far it is. Raises ValueError (pydantic's) where the details cannot be read."""
    return MigrationRollback.model_validate(lease.details)


def with_progress(lease: MigrationLease, **changes: object) -> MigrationLease:
    """The same lease, further along."""
    progress = progress_of(lease).model_copy(update=changes)
    return lease.model_copy(update={"details": details_of(progress)})


def details_of(progress: MigrationRollback) -> dict[str, JsonValue]:
    """What a lease carries of it."""
    details: dict[str, JsonValue] = progress.model_dump(mode="json", exclude_defaults=True)
    return details


def gone_on(lease: MigrationLease) -> MigrationLease:
    """The same lease in the hands of a run: it is not halted any more. A person has started it again, who has read why
    it had stopped, and its restarts count anew."""
    if not lease.halted:
        return lease
    return with_progress(lease, seen=lease.halted).model_copy(update={"halted": "", "restarts": 0})
