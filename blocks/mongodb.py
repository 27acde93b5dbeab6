"""MongoDB: the ledger of migrations, and changing documents in bounded ranges under a lease's epoch."""

import asyncio
import datetime
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import Field, HttpUrl, PrivateAttr, SecretStr

from blocks.base import OutsideBlock, PerLoop
from blocks.clock import monotonic_s
from blocks.http import UNREADABLE, quoted
from blocks.secret_reference import SecretReference
from playbook.errors import Fenced, Refused, ReleaseError, Transient
from playbook.migration.backfill import Backfill, Range, Trial
from playbook.migration.plan import Applied, Batch, Check, Document, plain_name

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

Answer = TypeVar("Answer")

SENSELESS = (*UNREADABLE, struct.error)
"""What the driver, or reading what it found, raises when an answer does not have the expected shape."""
LEDGER = "changelog"
"""migrate-mongo's own name for it."""
WALKS = "playbook_walks"
TRIALS = "playbook_trials"
TAKEN_BACK = "playbook_taken_back"
KEPT = "playbook_kept"
"""Old values that a rollback took from documents, one document for each: rollback, collection, document, values."""
OURS = (WALKS, TRIALS, LEDGER, TAKEN_BACK, KEPT)
DUPLICATE = 11000
COUNTS_TAKE = 5
"""Counting in all collections together may take so many times as long as one call: writes are off meanwhile."""
SHA256 = re.compile("[0-9a-fA-F]{64}")
NOT_ALLOWED = frozenset({13, 18})
"""Unauthorized, AuthenticationFailed."""
BUSY = frozenset({50, 91, 189, 10107, 11600, 11602, 13435, 13436})
"""MaxTimeMSExpired, and a primary that stops, steps down or is none."""


def hosts_of(uri: SecretStr) -> frozenset[str]:
    """The hosts that a connection string names, as host:port (27017 where it says none). Nothing is resolved."""
    rest = uri.get_secret_value().split("://", 1)[-1]
    named = rest.split("/", 1)[0].split("?", 1)[0].rpartition("@")[2].lower().split(",")
    return frozenset(host if host.rpartition(":")[2].isdigit() else f"{host}:27017" for host in named if host)


class MongoDB(OutsideBlock):
    """The database of an environment (readWrite on it), through pymongo."""

    _block_type_name: ClassVar[str | None] = "EthixAI MongoDB"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://www.mongodb.com/docs/languages/python/pymongo-driver/"
    )

    uri: SecretReference = Field(
        title="Connection string", description="Where it is: mongodb:// or mongodb+srv://, with its credentials."
    )
    database: str = Field(title="Database", min_length=1, description="Name of the database, for example ethixai.")
    timeout_s: float = Field(
        30, gt=0, title="Timeout", description="Seconds that one call may take, with all its queries."
    )
    connect_timeout_s: float = Field(5, gt=0, title="Connect timeout", description="Seconds to find a server.")
    _clients: PerLoop["MongoClient[Document]"] = PrivateAttr(default_factory=PerLoop)

    def at(self, uri: SecretReference) -> "MongoDB":
        """The database of the same name at another address.

        A block of its own: a copy would share the client, which is connected to this one.
        """
        return MongoDB(
            uri=uri, database=self.database, timeout_s=self.timeout_s, connect_timeout_s=self.connect_timeout_s
        )

    async def applied(self) -> tuple[Applied, ...]:
        """The ledger, in order of name. One query. Raises: Transient, Refused."""

        def read(database: "Database[Document]") -> tuple[Applied, ...]:
            lines = database[LEDGER].find({}, {"fileName": 1, "appliedAt": 1, "fileHash": 1})
            found = [
                Applied(
                    file_name=str(line["fileName"]),
                    at_s=_unix(line.get("appliedAt")),
                    file_hash=_digest(line.get("fileHash")),
                )
                for line in lines
            ]
            return tuple(sorted(found, key=lambda line: line.name))

        return await self._do(f"for the ledger {LEDGER}", read)

    async def forget(self, name: str, digest: str) -> None:
        """The ledger has no line of this migration, and nothing is kept of its walk but that it was taken back, and by
        which text of its module (``digest``).

        The line goes last: while it stands, a run that was stopped in between comes here again.
        Raises: Transient, Refused.
        """

        def remove(database: "Database[Document]") -> None:
            database[TAKEN_BACK].update_one({"_id": name}, {"$set": {"digest": digest}}, upsert=True)
            database[WALKS].delete_one({"_id": name})
            for line in list(database[LEDGER].find({}, {"fileName": 1})):
                if plain_name(str(line["fileName"])) == name:
                    database[LEDGER].delete_one({"_id": line["_id"]})

        await self._do(f"to take {name} out of the ledger", remove)

    async def taken_back_by(self, name: str) -> str | None:
        """The digest of the module that took this migration back here last; None where it never was.

        Empty where only the name was kept, as earlier versions did. One query. Raises: Transient, Refused.
        """

        def read(database: "Database[Document]") -> str | None:
            kept = database[TAKEN_BACK].find_one({"_id": name})
            return None if kept is None else _digest(kept.get("digest"))

        return await self._do(f"whether {name} was taken back", read)

    async def count(self, collection: str, match: Document | None = None) -> int:
        """How many documents meet ``match`` (None: all). One query. Raises: Transient, Refused."""
        return await self._do(
            f"to count {collection}", lambda database: database[collection].count_documents(match or {})
        )

    async def broken(self, check: Check) -> int:
        """How many documents do not pass ``check``. One query. Raises: Transient, Refused."""
        return await self.count(check.collection, check.never)

    async def written_since(self, at_s: float) -> dict[str, int | None]:
        """Documents made (by their ObjectId) or changed (by ``updatedAt``) since a time: {collection: count}, no zeros.

        What was deleted, and changes without ``updatedAt``, cannot be seen so. A call for each collection: one without
        an index on ``updatedAt`` is read whole. Where that takes longer than ``timeout_s``, or all together took
        `COUNTS_TAKE` times as long, the count is None. Raises: Transient (no collection could be counted), Refused.
        """

        def newer() -> Document:
            from bson import ObjectId

            since = datetime.datetime.fromtimestamp(at_s, datetime.UTC)
            return {"$or": [{"_id": {"$gte": ObjectId.from_datetime(since)}}, {"updatedAt": {"$gte": since}}]}

        def count(name: str, database: "Database[Document]") -> int:
            return database[name].count_documents(newer())

        def named(database: "Database[Document]") -> list[str]:
            found = database.list_collection_names()
            if not all(type(name) is str for name in found):  # a Code of bson is a str, too
                raise TypeError("the name of a collection is no text")
            return sorted(name for name in found if name not in OURS)

        names = await self._do("for its collections", named)
        ends_at, counts, late = monotonic_s() + COUNTS_TAKE * self.timeout_s, dict[str, int | None](), None
        for name in names:
            counts[name] = None
            if monotonic_s() >= ends_at:
                continue
            try:
                counts[name] = await self._do(f"what was written to {name} since", partial(count, name))
            except Transient as slow:
                late = slow
        if late is not None and all(count is None for count in counts.values()):
            raise late
        return {name: count for name, count in counts.items() if count != 0}

    async def try_out(self, batch: Batch, copies: int) -> Trial:
        """What ``batch`` would do, tried on copies in a collection of our own, which is gone afterwards.

        The batch's own documents are only read. Raises: Transient, Refused.
        """

        def attempt(database: "Database[Document]") -> Trial:
            source, scratch = database[batch.collection], database[TRIALS]
            scratch.drop()
            originals = list(source.find(batch.match).sort("_id", 1).limit(copies))
            if originals:
                scratch.insert_many(originals)
            try:
                changed = scratch.update_many(batch.match, batch.change).modified_count
                still = scratch.count_documents(batch.match)
                after = scratch.find_one({"_id": originals[0]["_id"]}) if originals else None
            finally:
                scratch.drop()
            return Trial(
                collection=batch.collection,
                total=source.count_documents({}),
                matching=source.count_documents(batch.match),
                tried=len(originals),
                changed=changed,
                still_matching=still,
                fields_before=tuple(sorted(originals[0])) if originals else (),
                fields_after=tuple(sorted(after)) if after else (),
            )

        return await self._do(f"to try a change of {batch.collection} on copies", attempt)

    async def backfill(self, name: str) -> Backfill | None:
        """How far the walk of a migration is, or None where none has begun. One query."""

        def read(database: "Database[Document]") -> Backfill | None:
            kept = database[WALKS].find_one({"_id": name})
            return Backfill(migration=name, **{k: v for k, v in kept.items() if k != "_id"}) if kept else None

        return await self._do(f"how far {name} is", read)

    async def take(self, backfill: Backfill) -> None:
        """The backfill belongs to this epoch from now on: the run that had it may not write any more. One write.

        Raises: Fenced (a newer epoch has it), Transient, Refused.
        """

        def write(database: "Database[Document]") -> bool:
            from pymongo.errors import DuplicateKeyError

            ours: Document = {"_id": backfill.migration, "epoch": {"$lte": backfill.epoch}}
            try:
                # An upsert that finds a newer epoch tries to insert a second document under the name, and may not.
                database[WALKS].update_one(ours, {"$set": backfill.model_dump(exclude={"migration"})}, upsert=True)
            except DuplicateKeyError:
                return False
            return True

        self._fence(backfill, await self._do(f"to begin {backfill.migration}", write))

    async def keep(self, backfill: Backfill) -> None:
        """How far the walk is stands in the database, where it is still this epoch's. One write.

        Raises: Fenced (another epoch has it, or has finished it), Transient, Refused.
        """
        ours: Document = {"_id": backfill.migration, "epoch": backfill.epoch}
        kept: Document = {"$set": backfill.model_dump(exclude={"migration"})}
        is_ours = await self._do(
            f"to keep how far {backfill.migration} is",
            lambda database: database[WALKS].update_one(ours, kept).matched_count == 1,
        )
        self._fence(backfill, is_ours)

    @staticmethod
    def _fence(backfill: Backfill, is_ours: bool) -> None:
        if not is_ours:
            raise Fenced(
                f"{backfill.migration}: a newer run has it; this one, of epoch {backfill.epoch}, writes nothing more."
            )

    async def ids(self, batch: Batch, after: object, limit: int) -> list[object]:
        """Ascending ids of the first documents still to be changed, beyond ``after`` (None: from the start)."""

        def read(database: "Database[Document]") -> list[object]:
            beyond: Document = {"$and": [batch.match, {"_id": {"$gt": after}}]} if after is not None else batch.match
            found = database[batch.collection].find(beyond, {"_id": 1}).sort("_id", 1).limit(limit)
            return [one["_id"] for one in found]

        return await self._do(f"for the next documents of {batch.collection}", read)

    async def retain(self, batch: Batch, within: Range, fields: tuple[str, ...], rollback: str, step: str) -> None:
        """The values of ``fields``, of every document of the range that is still to be changed, stand in KEPT.

        ``rollback`` and ``step`` name the rollback and its batch: asked again, the first copy stays. One query and one
        write. Raises: Transient, Refused.
        """
        has: Document = {"$or": [{name: {"$exists": True}} for name in fields]}
        only: Document = {"$and": [{"_id": {"$gte": within.first, "$lte": within.last}}, batch.match, has]}

        def write(database: "Database[Document]") -> None:
            from pymongo.errors import BulkWriteError

            copies: list[Document] = [
                {
                    "_id": {"rollback": rollback, "step": step, "document": one["_id"]},
                    "rollback": rollback,
                    "collection": batch.collection,
                    "document": one["_id"],
                    "values": {name: value for name, value in one.items() if name != "_id"},
                }
                for one in database[batch.collection].find(only, dict.fromkeys(fields, 1))
            ]
            try:
                if copies:
                    database[KEPT].insert_many(copies, ordered=False)
            except BulkWriteError as failed:
                if any(error["code"] != DUPLICATE for error in (failed.details or {})["writeErrors"]):
                    raise

        await self._do(f"to keep old values of {batch.collection}", write)

    async def retained(self, rollback: str) -> int:
        """The old values of so many documents were retained by this rollback. One query. Raises: Transient, Refused."""
        return await self.count(KEPT, {"rollback": rollback})

    async def change(self, batch: Batch, within: Range) -> int:
        """Every document of the range that meets ``match`` is changed. How many were. One write, safe to repeat."""
        only: Document = {"$and": [{"_id": {"$gte": within.first, "$lte": within.last}}, batch.match]}
        return await self._do(
            f"to change {batch.collection}",
            lambda database: database[batch.collection].update_many(only, batch.change).modified_count,
        )

    async def left(self, batch: Batch, within: Range) -> int:
        """How many documents of the range still meet ``match``: 0 after `change`. One query."""
        only: Document = {"$and": [{"_id": {"$gte": within.first, "$lte": within.last}}, batch.match]}
        return await self.count(batch.collection, only)

    async def _do(self, asked: str, work: "Callable[[Database[Document]], Answer]") -> Answer:
        """``work`` done in a thread, with whatever goes wrong as an error of this project."""
        with self._calling(asked):
            uri = await self.uri.read()
            client = self._clients.get(lambda: self._make(uri))
            return await asyncio.to_thread(self._in_time, work, client[self.database])

    def _in_time(self, work: "Callable[[Database[Document]], Answer]", database: "Database[Document]") -> Answer:
        """``work``, all of its queries together within ``timeout_s``: a cursor may have no end."""
        from pymongo import timeout

        with timeout(self.timeout_s):
            return work(database)

    def _make(self, uri: SecretStr) -> "MongoClient[Document]":
        from pymongo import MongoClient

        return MongoClient(
            uri.get_secret_value(),
            appname="ethixai-playbook",
            tz_aware=True,
            timeoutMS=int(self.timeout_s * 1000),
            serverSelectionTimeoutMS=int(self.connect_timeout_s * 1000),
            connectTimeoutMS=int(self.connect_timeout_s * 1000),
        )

    @contextmanager
    def _calling(self, asked: str) -> Iterator[None]:
        from bson.errors import BSONError
        from pymongo.errors import ConfigurationError, PyMongoError

        try:
            yield
        except ConfigurationError as error:
            # Its words may quote the connection string, and a chained error would show them.
            raise self.translate(error, asked) from None
        except (PyMongoError, BSONError, *SENSELESS) as error:
            raise self.translate(error, asked) from error

    def translate(self, error: Exception, asked: str) -> ReleaseError:
        """What an error of pymongo or bson means. Total."""
        from pymongo import errors

        came = f"MongoDB, asked {asked} in {self.database}, answered {type(error).__name__}"
        words = quoted(str(error))
        said: Any = getattr(error, "code", None)
        code = said if isinstance(said, int) else None
        if isinstance(error, SENSELESS) and not isinstance(error, errors.PyMongoError):
            return Refused(
                f"MongoDB, asked {asked} in {self.database}, gave an answer that makes no sense "
                f"({quoted(repr(error))}). Check that a MongoDB server answers at mongodb.uri, and that only this "
                "project writes its playbook_ collections."
            )
        if isinstance(error, errors.ConfigurationError):
            return Refused(f"{came}. Check mongodb.uri; it is not repeated here.")
        if isinstance(error, errors.ConnectionFailure | errors.ExecutionTimeout | errors.WTimeoutError):
            return Transient(f"{came}: {words}. Ask again; if it stays so, check mongodb.uri and who may connect.")
        if isinstance(error, errors.OperationFailure) and code in NOT_ALLOWED:
            return Refused(f"{came}: {words}. Check the user of mongodb.uri: it needs readWrite on {self.database}.")
        if code in BUSY or (isinstance(error, errors.PyMongoError) and error.has_error_label("RetryableWriteError")):
            return Transient(f"{came}: {words}. Ask again.")
        return Refused(f"{came}: {words}. Correct what was asked.")


def _digest(value: object) -> str:
    """A SHA-256 in hex, small letters; empty where ``value`` is none."""
    return value.lower() if isinstance(value, str) and SHA256.fullmatch(value) else ""


def _unix(at: object) -> float:
    """A date of the ledger in unix seconds. Raises Refused where a line has none."""
    if not isinstance(at, datetime.datetime):
        raise Refused(f"a line of {LEDGER} has no date in appliedAt ({type(at).__name__}). Correct it.")
    return at.replace(tzinfo=at.tzinfo or datetime.UTC).timestamp()
