"""A migration as a value, and the plan of taking one back: what to undo, in which order, and which code can read what
is left (playbook 4, scenario 3)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Self

from pydantic import Field, model_validator

from playbook.base import Frozen, Written
from playbook.errors import BadRequest, Refused
from playbook.form import INTERNAL, Form, Line, Person, field, sentence, too_many, who
from playbook.release.version import VERSION

Document = dict[str, object]
"""A document, a query or an update, as MongoDB writes them."""


class SchemaRange(Frozen):
    """Every schema version that some code can read, both ends included."""

    low: int = Field(ge=0)
    high: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"a schema range goes from low to high, not from {self.low} to {self.high}")
        return self

    def __contains__(self, schema: int) -> bool:
        return self.low <= schema <= self.high

    def __str__(self) -> str:
        return f"schema {self.low}" if self.low == self.high else f"schemas {self.low} to {self.high}"


class Batch(Frozen):
    """What one step of a migration does: ``change`` is made to every document of ``collection`` that meets ``match``.

    ``match`` must not meet what ``change`` has made: that is how a document is never changed twice.
    """

    collection: str
    match: Document
    change: Document = Field(description="update operators, such as {'$rename': {'newField': 'oldField'}}")

    @model_validator(mode="after")
    def _changes_in_place(self) -> Self:
        if not self.match:
            raise ValueError("match is empty: it would meet what change has made")
        if not self.change or any(not key.startswith("$") for key in self.change):
            raise ValueError("change must be made of update operators such as $rename, $set or $unset")
        return self


class Check(Frozen):
    """What must be so at a schema version: no document of ``collection`` meets ``never``."""

    collection: str
    never: Document
    says: str = Field(description="completes “the migration left …”")


class Migration(Frozen):
    """One module of the migrations folder, read and found right."""

    name: str = Field(description="the module's file name without .py, equal to the ledger's without its own ending")
    from_schema: int = Field(ge=0)
    to_schema: int
    is_reversible: bool
    up: tuple[Batch, ...]
    down: tuple[Batch, ...] = ()
    checks_before: tuple[Check, ...] = Field((), description="what verify says of from_schema")
    checks_after: tuple[Check, ...] = Field((), description="what verify says of to_schema")
    reads: dict[str, SchemaRange] = Field(
        default_factory=dict,
        description="release -> what it can read; vYYYYMMDD alone means every release from that day on",
    )
    digest: str = Field("", description="SHA-256 of the module's file, in hex")


class Migrations(Written):
    """Where the migrations of an environment are, and who writes to the database."""

    folder: str = Field(min_length=1, description="Folder of the migration modules, as the worker sees it.")
    services: tuple[str, ...] = Field(
        min_length=1, description="Services that write to the database, the one that carries the lease first."
    )
    batch: int = Field(1000, ge=1, description="Documents changed by one write. Bounded, so that a stop is short.")
    keep_old_values: bool = Field(
        True,
        description="Before a down takes a field from documents, its values are copied to the collection "
        "playbook_kept.",
    )
    connection_secret: str = Field(
        "", description="Secret that the services read the connection string from. Empty: production is never switched."
    )


class Applied(Frozen):
    """One line of the ledger (migrate-mongo's ``changelog``)."""

    file_name: str
    at_s: float = Field(description="unix seconds")
    file_hash: str = Field("", description="SHA-256 of the file that was applied, in hex; empty: not kept")

    @property
    def name(self) -> str:
        """Without its ending: theirs is .js, ours .py."""
        return plain_name(self.file_name)


class Way(StrEnum):
    """How a migration is taken back."""

    DOWN = "down"
    RESTORE = "restore"


class MigrationRequest(Form):
    """Take a migration of the database back (playbook 4, scenario 3)."""

    migration: Line = Field(
        "",
        title="Migration",
        description="Its name. Leave it empty for the last one that was applied.",
        json_schema_extra=field(example="20251116-split-names"),
    )
    reason: Line = sentence(
        "What is broken, in one sentence. It is announced.", "Names are cut off after the migration"
    )
    requested_by: Person = who()
    to_release: Line = Field(
        "",
        title="Code",
        description="The release or revision to serve afterwards. Leave it empty for the newest good one that can read "
        "the schema.",
        json_schema_extra=field(example="v20251115-abc123"),
    )
    continues: Line = Field(
        "",
        description="Filled in by recovery: the rollback that this run goes on with. It begins no other.",
        json_schema_extra={INTERNAL: True},
    )

    @property
    def subject(self) -> str:
        """What is rolled back, for the name of the flow run."""
        return self.migration or "the last migration"

    def problems(self) -> list[str]:
        """What is wrong with it, one line for each field."""
        needed = (("reason", "say in one sentence what is broken"), ("requested_by", "say who asks"))
        missing = [f"{name}: {why}" for name, why in needed if self.continues or not getattr(self, name)]
        return missing + too_many(self)


class RollbackPlan(Frozen):
    """What taking migrations back will do to the data."""

    undo: tuple[str, ...] = Field(description="names, the newest first")
    way: Way
    schema_now: int
    schema_after: int
    applied_at_s: float = Field(description="unix seconds; when the oldest of them was applied")
    why: str = ""


class MigrationRollback(Frozen):
    """A migration rollback in flight, kept in its lease: a run that starts it again goes on from here."""

    request: MigrationRequest
    plan: RollbackPlan
    environment: str
    is_drained: bool = Field(False, description="requests that were under way when writes were stopped are over")
    is_data_done: bool = Field(False, description="the data is as it was before; code and scaling may follow")
    snapshot: str = Field("", description="id of the backup that a person has agreed to restore")
    snapshot_agreed_at_s: float = Field(0, description="unix seconds; when that was. 0: before this was kept")
    restore_job: str = Field("", description="id of the restore that was started")
    bases: dict[str, str] = Field(
        default_factory=dict,
        description="service -> revision whose copy reads the restored database; empty before that",
    )
    agreed: tuple[str, ...] = Field((), description="what people said yes to, in their words")
    kept: int = Field(0, description="documents whose old values were copied before a down took them")
    declined: str = Field("", description="who said no before the data was touched: everything is opened again")
    seen: str = Field("", description="why it had stopped when a person started it again: what they have looked at")


class Backup(Frozen):
    """A snapshot of the database's cluster."""

    id: str
    at_s: float = Field(description="unix seconds")

    def __str__(self) -> str:
        return f"backup {self.id} of {datetime.fromtimestamp(self.at_s, UTC):%Y-%m-%d %H:%M} UTC"


class RestoreJob(Frozen):
    """A restore as the backup service reports it."""

    id: str
    is_over: bool
    problem: str = Field("", description="why it ended badly; empty where it did not")
    ended_at_s: float | None = Field(None, description="unix seconds; None while it is under way, or where it failed")

    def serves_since(self, at_s: float) -> bool:
        """Whether it is under way, or has ended well at ``at_s`` (unix seconds) or later."""
        return not self.is_over or (not self.problem and self.ended_at_s is not None and self.ended_at_s >= at_s > 0)


def backup_before(backups: Iterable[Backup], at_s: float) -> Backup | None:
    """The newest backup from before ``at_s``; None where there is none."""
    return max((one for one in backups if one.at_s < at_s), key=lambda one: one.at_s, default=None)


def plain_name(file_name: str) -> str:
    """``20251116-rename`` for ``20251116-rename.js``."""
    return file_name.rsplit(".", 1)[0] if file_name.endswith((".js", ".cjs", ".mjs", ".ts", ".py")) else file_name


def chain_problems(migrations: Sequence[Migration]) -> list[str]:
    """What is wrong with the migrations of a folder taken together, one line each. They stand in order of name."""
    found = [
        f"{migration.name}: TO_SCHEMA {migration.to_schema} is not above FROM_SCHEMA {migration.from_schema}"
        for migration in migrations
        if migration.to_schema <= migration.from_schema
    ]
    for earlier, later in pairwise(migrations):
        if later.from_schema != earlier.to_schema:
            found.append(
                f"{later.name}: FROM_SCHEMA is {later.from_schema}, but {earlier.name} before it leads to "
                f"{earlier.to_schema}; set it to {earlier.to_schema}"
            )
    return found


def schema_of(migrations: Sequence[Migration], applied: Iterable[Applied]) -> int:
    """The schema version that the ledger says the database has.

    Lines older than every module are from before this folder was kept. Raises Refused: a newer line has no module here.
    """
    if not migrations:
        raise Refused("the migrations folder is empty, so the schema is not known. Add the modules to it.")
    known = {migration.name: migration for migration in migrations}
    names = sorted(line.name for line in applied)
    newest = max((name for name in names if name in known), default="")
    stray = [name for name in names if name not in known and name > (newest or min(known))]
    if stray:
        raise Refused(
            f"the ledger says that {', '.join(stray)} was applied, and the migrations folder does not have it. "
            "Add its module: without it, which code can read the database is not known."
        )
    return known[newest].to_schema if newest else migrations[0].from_schema


def plan_rollback(migrations: Sequence[Migration], applied: Sequence[Applied], wanted: str) -> RollbackPlan:
    """What must be undone so that ``wanted`` (empty: the last one) is no longer applied.

    Everything applied after it goes first. One that is irreversible makes it a restore.
    Raises: BadRequest (it is unknown, or not applied), Refused (`schema_of`; one applied after it has no module).
    """
    now = schema_of(migrations, applied)
    known = {migration.name: migration for migration in migrations}
    at_s = {line.name: line.at_s for line in applied}
    names = sorted((name for name in at_s if name in known), reverse=True)
    name = plain_name(wanted.strip()) if wanted.strip() else (names[0] if names else "")
    if not name:
        raise BadRequest(["migration: no migration of the folder is applied, so there is nothing to take back"])
    if name not in known:
        raise BadRequest([f"migration: there is no {name!r} in the folder; it has {', '.join(known)}"])
    if name not in at_s:
        raise BadRequest([f"migration: {name!r} is not applied; applied are {', '.join(reversed(names)) or 'none'}"])
    undo = tuple(sorted((one for one in at_s if one >= name), reverse=True))
    if unknown := [one for one in undo if one not in known]:
        raise Refused(
            f"{', '.join(unknown)} was applied after {name}, and the migrations folder does not have it. "
            "Add its module: without it, it cannot be taken back."
        )
    irreversible = [one for one in undo if not known[one].is_reversible]
    return RollbackPlan(
        undo=undo,
        way=Way.RESTORE if irreversible else Way.DOWN,
        schema_now=now,
        schema_after=known[name].from_schema,
        applied_at_s=at_s[name],
        why=f"{', '.join(irreversible)} cannot be undone" if irreversible else "",
    )


def readable(migrations: Iterable[Migration], release: str) -> SchemaRange | None:
    """What ``release`` can read: what is said of it by name, else of the newest day that is not after its own."""
    said: Mapping[str, SchemaRange] = {key: value for one in migrations for key, value in one.reads.items()}
    if release in said:
        return said[release]
    found = VERSION.fullmatch(release)
    days = [key for key in said if found and len(key) == len("v20251116") and key <= f"v{found['date']}"]
    return said[max(days)] if days else None


def code_problem(migrations: Iterable[Migration], release: str, schema: int) -> str:
    """Why ``release`` must not meet a database of ``schema``, naming both; empty where it can read it."""
    can_read = readable(migrations, release)
    if can_read is None:
        return (
            f"No migration says what {release or 'a revision that no release made'} can read; the database has "
            f"schema {schema}. Add it to READS of the newest migration."
        )
    if schema in can_read:
        return ""
    return f"{release} can read {can_read}; the database has schema {schema}."
