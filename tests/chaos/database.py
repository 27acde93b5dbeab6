"""The blocks `MongoDB` and `Atlas` in memory: their own methods, on documents and backups in this process.

Each operation of MongoDB's driver is a call, so a process can be killed between any two of them.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import mongomock
from pydantic import SecretStr
from wire import Step, Wire

from blocks import Atlas, MongoDB
from blocks.clock import unix_s
from blocks.mongodb import OURS
from blocks.secret_reference import SecretReference

Answer = TypeVar("Answer")
Parsed = TypeVar("Parsed")
Documents = Mapping[str, list[dict[str, Any]]]

RESTORE_S = 120.0
"""How long a restore takes: longer than it takes to detect a killed process."""


class Database:
    """As `MongoDB`: what it asks of the driver is done to ``documents``. ``is_open``: users can write right now."""

    applied, forget, count, broken = MongoDB.applied, MongoDB.forget, MongoDB.count, MongoDB.broken
    taken_back_by = MongoDB.taken_back_by
    written_since, try_out, backfill, take = MongoDB.written_since, MongoDB.try_out, MongoDB.backfill, MongoDB.take
    keep, ids, change, left = MongoDB.keep, MongoDB.ids, MongoDB.change, MongoDB.left
    retain, retained = MongoDB.retain, MongoDB.retained
    _fence = staticmethod(MongoDB._fence)
    _calling, translate = MongoDB._calling, MongoDB.translate
    database = "ethixai"
    timeout_s = 30.0
    uri = SecretReference.given(SecretStr("mongodb://production"))

    def __init__(self, wire: Wire, is_open: Callable[[], bool]) -> None:
        self._wire, self._is_open = wire, is_open
        self.documents: Any = mongomock.MongoClient()[self.database]
        self.changed: Counter[tuple[str, object]] = Counter()
        """(collection, _id) -> how often a document that is not ours was changed"""
        self.changed_while_open = 0
        self.elsewhere: dict[str, Database] = {}
        """connection string -> the database there"""

    def at(self, uri: SecretReference) -> "Database":
        """As the block's."""
        return self.elsewhere[uri._given.get_secret_value()]

    async def _do(self, asked: str, work: "Callable[[Database[Document]], Answer]") -> Answer:  # noqa: F821  # in the block's own words
        """As the block's, with each operation on the wire."""
        with self._calling(asked):
            return await self._wire.carry_each("mongodb", lambda step: work(_Database(self, step)))

    def become(self, documents: Documents) -> None:
        """It holds ``documents`` and no others."""
        for name in self.documents.list_collection_names():
            self.documents.drop_collection(name)
        for name, some in documents.items():
            self.documents[name].insert_many([dict(one) for one in some])

    def changes(self, collection: str, match: Any) -> None:
        """Documents that meet ``match`` are about to be changed."""
        if collection not in OURS:
            self.changed.update((collection, one["_id"]) for one in self.documents[collection].find(match))
            self.changed_while_open += self._is_open()


class _Database:
    """What the block is given in place of pymongo's database."""

    def __init__(self, whole: Database, step: Step) -> None:
        self._whole, self._step = whole, step

    def __getitem__(self, name: str) -> "_Collection":
        return _Collection(self._whole, self._step, name)

    def list_collection_names(self) -> list[str]:
        """As pymongo's."""
        names = self._whole.documents.list_collection_names
        return list(self._step("list_collection_names", "", names))


class _Collection:
    """One collection of it: every method of pymongo's, each on the wire."""

    def __init__(self, whole: Database, step: Step, name: str) -> None:
        self._whole, self._step, self._name = whole, step, name

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def apply(*arguments: Any, **named: Any) -> Any:
            if method == "update_many":
                self._whole.changes(self._name, arguments[0])
            return getattr(self._whole.documents[self._name], method)(*arguments, **named)

        return lambda *arguments, **named: self._step(method, self._name, lambda: apply(*arguments, **named))


class Backups:
    """As `Atlas`: snapshots of one cluster, restored to ``target`` a while after it was asked for."""

    backups, restore, restore_job = Atlas.backups, Atlas.restore, Atlas.restore_job
    _clusters, _every = Atlas._clusters, Atlas._every
    group, cluster, restore_cluster = "0" * 24, "ethixai-production", "ethixai-production-restore"
    restore_wait_s, poll_interval_s = 3600.0, 10.0

    def __init__(self, wire: Wire, target: Database, restore_uri: str, takes_s: float = RESTORE_S) -> None:
        self._wire, self._target, self._takes_s = wire, target, takes_s
        self.restore_uri = SecretReference.given(SecretStr(restore_uri))
        self.snapshots: dict[str, tuple[float, Documents]] = {}
        """id -> (unix seconds, what it holds)"""
        self.jobs: dict[str, dict[str, Any]] = {}

    async def _call(self, method: str, path: str, asked: str, parse: Callable[[Any], Parsed], **request: Any) -> Parsed:
        """As the block's; ``path`` as in the Admin API."""
        what = path.rsplit("/backup/", 1)[1]
        return await self._wire.carry("atlas", method, what, lambda: parse(self._answered(method, what, request)))

    def _answered(self, method: str, what: str, request: dict[str, Any]) -> Any:
        if what == "snapshots":
            at = {name: datetime.fromtimestamp(at_s, UTC).isoformat() for name, (at_s, _) in self.snapshots.items()}
            return {"results": [{"id": name, "createdAt": created} for name, created in at.items()]}
        if method == "POST":
            return self._begin(request["json"])
        return {"results": [*self.jobs.values()]} if what == "restoreJobs" else self.jobs[what.rsplit("/", 1)[1]]

    def _begin(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The target is emptied at once, and holds the snapshot when the restore is over."""
        job = {"id": f"job-{len(self.jobs)}", **wanted}
        self.jobs[job["id"]] = job
        self._target.become({})

        def end() -> None:
            self._target.become(self.snapshots[job["snapshotId"]][1])
            job["finishedAt"] = datetime.fromtimestamp(unix_s(), UTC).isoformat()

        asyncio.get_running_loop().call_later(self._takes_s, end)
        return job
