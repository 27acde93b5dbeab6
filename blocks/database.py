"""The two ports that only the migration rollback needs: the database, and its backups."""

from typing import Protocol, runtime_checkable

from blocks.secret_reference import SecretReference
from playbook.migration.backfill import Backfill, Range, Trial
from playbook.migration.plan import Applied, Backup, Batch, Check, Document, RestoreJob


@runtime_checkable
class Database(Protocol):
    """The database whose migrations can be taken back (MongoDB)."""

    uri: SecretReference

    def at(self, uri: SecretReference) -> "Database":
        """The database of the same name at another address."""

    async def applied(self) -> tuple[Applied, ...]:
        """The ledger of migrations, in order of name."""

    async def forget(self, name: str, digest: str) -> None:
        """The ledger no longer holds the migration. What its module was (``digest``) stays known."""

    async def taken_back_by(self, name: str) -> str | None:
        """The digest of the module that took the migration back here last; None: never, empty: not known."""

    async def count(self, collection: str, match: Document | None = None) -> int:
        """How many documents match."""

    async def broken(self, check: Check) -> int:
        """How many documents break the check."""

    async def written_since(self, at_s: float) -> dict[str, int | None]:
        """Documents made or changed since then (unix seconds), by collection; None: not counted in time."""

    async def try_out(self, batch: Batch, copies: int) -> Trial:
        """What the batch does to copies of documents."""

    async def backfill(self, name: str) -> Backfill | None:
        """How far a backfill has come."""

    async def take(self, backfill: Backfill) -> None:
        """The backfill is ours from here."""

    async def keep(self, backfill: Backfill) -> None:
        """How far the backfill has come is stored."""

    async def ids(self, batch: Batch, after: object, limit: int) -> list[object]:
        """The next ids of documents that the batch changes."""

    async def retain(self, batch: Batch, within: Range, fields: tuple[str, ...], rollback: str, step: str) -> None:
        """The values of these fields, of the documents of a range, stand in a collection beside."""

    async def retained(self, rollback: str) -> int:
        """The old values of so many documents were retained by this rollback."""

    async def change(self, batch: Batch, within: Range) -> int:
        """Change the documents of a range. How many were changed."""

    async def left(self, batch: Batch, within: Range) -> int:
        """How many documents of a range are still to be changed."""


@runtime_checkable
class Backups(Protocol):
    """Backups of the database, and restoring one beside production (Atlas)."""

    cluster: str
    restore_cluster: str
    restore_uri: SecretReference | None
    restore_wait_s: float
    poll_interval_s: float

    async def backups(self) -> tuple[Backup, ...]:
        """Every backup that can be restored."""

    async def restore(self, backup: str, since_s: float) -> str:
        """A restore to the other cluster is under way, or one has ended since then. Its id. Raises also: Conflict."""

    async def restore_job(self, job: str) -> RestoreJob:
        """How a restore stands."""
