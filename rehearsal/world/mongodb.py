"""MongoDB: a small server that speaks the real wire protocol (OP_MSG, and the first OP_QUERY hello) on mongomock.

One thread for each connection, one lock for all: commands run one after another, as they do on one document.
Not implemented: replica sets, sessions, transactions, write concerns, authentication. Unknown commands are refused.
"""

import contextlib
import datetime
import itertools
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import bson
import mongomock
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError, WriteError

from rehearsal.world.mongo_wire import (
    HEADER,
    OP_MSG,
    OP_QUERY,
    OP_REPLY,
    Document,
    command_of,
    frame,
    read,
    wants_answer,
)

FIRST_BATCH = 101
MAX_BSON, MAX_MESSAGE, MAX_WRITES = 16 * 1024 * 1024, 48_000_000, 100_000


class CommandError(Exception):
    """The command is refused, in the server's own form."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.answer = {"ok": 0.0, "errmsg": message, "code": code, "codeName": name}


@dataclass
class Fault:
    """An order: the connection breaks at ``command``, ``after`` so many of them, ``count`` times.

    ``applied``: it takes effect first, and only the answer is lost.
    """

    command: str
    after: int = 0
    count: int = 1
    applied: bool = False
    seen: int = field(default=0, init=False)

    def takes(self, command: str) -> bool:
        """Whether this command is hit; counts it."""
        if command != self.command:
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + self.count


class MongoDB:
    """``with MongoDB() as server``: it listens at `uri` until the block ends."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str]] = []
        """(command, collection) in the order of arrival, without the commands that the driver sends on its own."""
        self._lock = threading.RLock()
        self._client: Any = mongomock.MongoClient()
        self._cursors: dict[int, tuple[str, list[Document]]] = {}
        self._cursor_ids = itertools.count(1)
        self._reply_ids = itertools.count(1)
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._port = 0

    @property
    def uri(self) -> str:
        """The connection string."""
        return f"mongodb://127.0.0.1:{self._port}/?directConnection=true"

    def __enter__(self) -> Self:
        self.back()
        return self

    def __exit__(self, *error: object) -> None:
        self.away()

    def away(self) -> None:
        """Close all connections and refuse new ones."""
        listener, self._listener = self._listener, None
        for one in [*self._open, *([listener] if listener else [])]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def back(self) -> None:
        """Serve again, at the same address."""
        if self._listener is None:
            listener = socket.create_server(("127.0.0.1", self._port), backlog=64)
            self._port = listener.getsockname()[1]
            self._listener = listener
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def order(self, fault: Fault) -> None:
        """Order ``fault``, after those that stand."""
        self._faults.append(fault)

    def clear_faults(self) -> None:
        """Cancel all faults."""
        self._faults.clear()

    def reset(self) -> None:
        """Serve again, without documents and without faults."""
        with self._lock:
            self._client = mongomock.MongoClient()
            self._cursors.clear()
            self._faults.clear()
            self.commands.clear()
        self.back()

    def copy(self) -> dict[str, dict[str, list[Document]]]:
        """Every document, as a snapshot: ``{database: {collection: [document]}}``."""
        with self._lock:
            return {
                name: {one: list(self._client[name][one].find()) for one in self._client[name].list_collection_names()}
                for name in self._client.list_database_names()
            }

    def become(self, snapshot: dict[str, dict[str, list[Document]]]) -> None:
        """The documents of ``snapshot``, and no others: what a restore leaves."""
        with self._lock:
            self._client = mongomock.MongoClient()
            for database, collections in snapshot.items():
                for name, documents in collections.items():
                    if documents:
                        self._client[database][name].insert_many([dict(document) for document in documents])

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._open.add(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while answer := self._answer(connection):
                connection.sendall(answer)
        self._open.discard(connection)

    def _answer(self, connection: socket.socket) -> bytes:
        """The answer to the next message; empty when the conversation is over."""
        header = read(connection, HEADER.size)
        if not header:
            return b""
        length, request_id, _, op_code = HEADER.unpack(header)
        body = read(connection, length - HEADER.size)
        if op_code == OP_QUERY:
            return frame(OP_REPLY, next(self._reply_ids), request_id, self._hello({}))
        if op_code != OP_MSG:
            return b""
        command = command_of(body)
        name = next(iter(command))
        fault = next((one for one in self._faults if one.takes(name)), None)
        if fault and not fault.applied:
            return b""
        reply = self._do(name, command)
        if fault:
            return b""
        if not wants_answer(body):
            return self._answer(connection)
        return frame(OP_MSG, next(self._reply_ids), request_id, reply)

    def _do(self, name: str, command: Document) -> Document:
        taught: dict[str, Callable[[Document], Document]] = {
            "hello": self._hello,
            "ismaster": self._hello,
            "isMaster": self._hello,
            "ping": lambda _: {},
            "buildInfo": lambda _: {"version": "7.0.0", "versionArray": [7, 0, 0, 0]},
            "endSessions": lambda _: {},
            "insert": self._insert,
            "update": self._update,
            "delete": self._delete,
            "find": self._find,
            "aggregate": self._aggregate,
            "getMore": self._get_more,
            "killCursors": self._kill_cursors,
            "listCollections": self._list_collections,
            "drop": self._drop,
        }
        try:
            if name not in taught:
                raise CommandError(59, "CommandNotFound", f"not taught: {name}")
            with self._lock:
                if isinstance(command[name], str):
                    self.commands.append((name, command[name]))
                return {**taught[name](command), "ok": 1.0}
        except CommandError as refused:
            return refused.answer
        except NotImplementedError as unknown:
            return CommandError(238, "NotImplemented", f"not taught: {unknown}").answer
        except (PyMongoError, ValueError, TypeError) as wrong:
            return CommandError(2, "BadValue", str(wrong)).answer

    def _hello(self, _: Document) -> Document:
        return {
            "helloOk": True,
            "ismaster": True,
            "isWritablePrimary": True,
            "maxBsonObjectSize": MAX_BSON,
            "maxMessageSizeBytes": MAX_MESSAGE,
            "maxWriteBatchSize": MAX_WRITES,
            "localTime": datetime.datetime.now(datetime.UTC),
            "minWireVersion": 0,
            "maxWireVersion": 21,
            "readOnly": False,
            "ok": 1.0,
        }

    def _collection(self, command: Document, name: str) -> Any:
        return self._client[command["$db"]][command[name]]

    def _insert(self, command: Document) -> Document:
        collection = self._collection(command, "insert")
        documents, ordered = command["documents"], command.get("ordered", True)
        try:
            collection.insert_many(documents, ordered=ordered)
        except BulkWriteError as failed:
            errors = [
                {"index": one["index"], "code": one["code"], "errmsg": one["errmsg"]}
                for one in (failed.details or {})["writeErrors"]
            ]
            return {"n": (failed.details or {})["nInserted"], "writeErrors": errors}
        return {"n": len(documents)}

    def _update(self, command: Document) -> Document:
        collection = self._collection(command, "update")
        n = modified = 0
        upserted, errors = [], []
        for index, one in enumerate(command["updates"]):
            if isinstance(one["u"], list) or one.get("arrayFilters") or one.get("collation"):
                raise NotImplementedError("an update with a pipeline, array filters or a collation")
            try:
                done = _write(collection, one)
            except (DuplicateKeyError, WriteError) as failed:
                errors.append({"index": index, "code": failed.code or 2, "errmsg": str(failed)})
                if command.get("ordered", True):
                    break
                continue
            n += done.matched_count + (done.upserted_id is not None)
            modified += done.modified_count
            if done.upserted_id is not None:
                upserted.append({"index": index, "_id": done.upserted_id})
        answer: Document = {"n": n, "nModified": modified}
        return answer | ({"upserted": upserted} if upserted else {}) | ({"writeErrors": errors} if errors else {})

    def _delete(self, command: Document) -> Document:
        collection, n = self._collection(command, "delete"), 0
        for one in command["deletes"]:
            delete = collection.delete_one if one["limit"] else collection.delete_many
            n += delete(one["q"]).deleted_count
        return {"n": n}

    def _find(self, command: Document) -> Document:
        found = self._collection(command, "find").find(command.get("filter") or {}, command.get("projection") or None)
        if command.get("sort"):
            found = found.sort(list(command["sort"].items()))
        found = found.skip(command.get("skip", 0)).limit(abs(command.get("limit", 0)))
        size = command.get("batchSize", FIRST_BATCH)
        return self._page(command, "find", list(found), size, is_single=command.get("singleBatch", False))

    def _aggregate(self, command: Document) -> Document:
        if not isinstance(command["aggregate"], str):
            raise NotImplementedError("an aggregation without a collection")
        found = self._collection(command, "aggregate").aggregate(command["pipeline"])
        return self._page(command, "aggregate", list(found), command.get("cursor", {}).get("batchSize", FIRST_BATCH))

    def _list_collections(self, command: Document) -> Document:
        if command.get("filter"):
            raise NotImplementedError("a filter of collections")
        names = self._client[command["$db"]].list_collection_names()
        found = [{"name": name, "type": "collection"} for name in sorted(names)]
        return {"cursor": {"id": 0, "ns": f"{command['$db']}.$cmd.listCollections", "firstBatch": found}}

    def _drop(self, command: Document) -> Document:
        self._client[command["$db"]].drop_collection(command["drop"])
        return {"ns": f"{command['$db']}.{command['drop']}"}

    def _page(
        self, command: Document, name: str, found: Sequence[Document], size: int, *, is_single: bool = False
    ) -> Document:
        first, rest = list(found[:size]), list(found[size:])
        namespace = f"{command['$db']}.{command[name]}"
        cursor = next(self._cursor_ids) if rest and not is_single else 0
        if cursor:
            self._cursors[cursor] = (namespace, rest)
        return {"cursor": {"id": bson.Int64(cursor), "ns": namespace, "firstBatch": first}}

    def _get_more(self, command: Document) -> Document:
        cursor = int(command["getMore"])
        if cursor not in self._cursors:
            raise CommandError(43, "CursorNotFound", f"cursor id {cursor} not found")
        namespace, rest = self._cursors.pop(cursor)
        size = command.get("batchSize", len(rest))
        if rest[size:]:
            self._cursors[cursor] = (namespace, rest[size:])
        left = bson.Int64(cursor if rest[size:] else 0)
        return {"cursor": {"id": left, "ns": namespace, "nextBatch": rest[:size]}}

    def _kill_cursors(self, command: Document) -> Document:
        killed = [cursor for cursor in command["cursors"] if self._cursors.pop(int(cursor), None)]
        return {"cursorsKilled": killed, "cursorsNotFound": [], "cursorsAlive": [], "cursorsUnknown": []}


def _write(collection: Any, one: Document) -> Any:
    """One update statement, as mongomock has it."""
    is_replacement = not any(key.startswith("$") for key in one["u"])
    upsert = one.get("upsert", False)
    if is_replacement:
        return collection.replace_one(one["q"], one["u"], upsert=upsert)
    update = collection.update_many if one.get("multi") else collection.update_one
    return update(one["q"], one["u"], upsert=upsert)
