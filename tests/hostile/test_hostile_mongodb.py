"""Every method of the MongoDB block x every hostile answer of a server that the driver takes for one."""

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import bson
import pytest
from answers import SLOW_S
from calls import MONGODB, block_of, called

import blocks
from playbook.errors import ReleaseError
from playbook.text import MESSAGE_MAX, clean
from rehearsal.world.mongo_wire import HEADER, OP_MSG, OP_QUERY, OP_REPLY, command_of, frame

ENDS_S = 60.0
OP_COMPRESSED = 2012
Document = dict[str, Any]
Reply = Callable[[asyncio.StreamWriter, int], Awaitable[None]]
"""Writes an answer to the request of this number."""
GREETINGS = frozenset({"hello", "ismaster", "ping", "endsessions", "killcursors"})
HELLO: Document = {
    "ismaster": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 << 20,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
    "logicalSessionTimeoutMinutes": 30,
    "ok": 1.0,
}


def of(document: Document) -> Reply:
    """This document, well framed."""
    return raw(b"\0\0\0\0\0" + bson.encode(document))


def raw(body: bytes, length: int | None = None, op_code: int = OP_MSG) -> Reply:
    """These bytes as the body of a message that says it has ``length`` bytes."""

    async def write(writer: asyncio.StreamWriter, request: int) -> None:
        said = HEADER.size + len(body) if length is None else length
        writer.write(HEADER.pack(said, 1, request, op_code) + body)
        await writer.drain()

    return write


def batch(*documents: Document, cursor: object = 0) -> Reply:
    """What a query finds."""
    return of({"ok": 1.0, "n": len(documents), "cursor": {"id": cursor, "ns": "x.y", "firstBatch": list(documents)}})


def with_bytes(document: Document, of: bytes, instead: bytes) -> Reply:
    """A document in whose encoding some bytes are replaced by as many others."""
    encoded = bson.encode(document)
    assert of in encoded
    assert len(of) == len(instead)
    return raw(b"\0\0\0\0\0" + encoded.replace(of, instead))


def nested(depth: int) -> bytes:
    """Documents in documents, as BSON: the encoder itself does not go so deep."""
    inner = b"\x05\0\0\0\0"
    for _ in range(depth):
        inner = struct.pack("<i", len(inner) + 8) + b"\x03a\0" + inner + b"\0"
    return inner


async def silence(writer: asyncio.StreamWriter, request: int) -> None:
    """Nothing, for a long time."""
    await asyncio.sleep(60)


async def closed(writer: asyncio.StreamWriter, request: int) -> None:
    """The connection ends instead."""
    writer.close()


async def a_byte_at_a_time(writer: asyncio.StreamWriter, request: int) -> None:
    """The answer never ends."""
    writer.write(HEADER.pack(100_000, 1, request, OP_MSG))
    while not writer.is_closing():
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(SLOW_S)


async def without_an_end(writer: asyncio.StreamWriter, request: int) -> None:
    """Whatever is asked, there is one more document, and more where it came from."""
    one = {"_id": request, "fileName": "20251030093000-x.js", "appliedAt": None, "name": "users", "n": 1}
    found = {"id": 7, "ns": "x.y", "firstBatch": [one], "nextBatch": [one]}
    await of({"ok": 1.0, "n": 1, "cursor": found})(writer, request)


def values(found: object) -> dict[str, Reply]:
    """The same value wherever the block reads one."""
    fields = ("fileName", "appliedAt", "fileHash", "digest", "n", "epoch", "last", "done", "name", "type", "total")
    document = {"_id": found, **dict.fromkeys(fields, found)}
    return {
        "as what is found": of({"ok": 1.0, "cursor": {"id": 0, "ns": "x.y", "firstBatch": [document]}, "n": 1}),
        "as every count": of(
            {"ok": 1.0, "n": found, "nModified": found, "cursor": {"id": 0, "ns": "x.y", "firstBatch": [{"n": found}]}}
        ),
        "as the cursor": of({"ok": 1.0, "n": 1, "cursor": found}),
        "as the cursor's number": of({"ok": 1.0, "n": 1, "cursor": {"id": found, "ns": "x.y", "firstBatch": []}}),
        "as the documents": of({"ok": 1.0, "n": 1, "cursor": {"id": 0, "ns": "x.y", "firstBatch": found}}),
        "as ok": of({"ok": found, "errmsg": "no"}),
        "as the code": of({"ok": 0, "code": found, "errmsg": "no", "codeName": found, "errorLabels": found}),
        "as the message": of({"ok": 0, "code": 1, "errmsg": found}),
        "as the write's errors": of({"ok": 1.0, "n": 1, "writeErrors": found}),
        "as the write's concern": of({"ok": 1.0, "n": 1, "writeConcernError": found}),
        "as the cluster's time": of({"ok": 1.0, "n": 1, "$clusterTime": found, "operationTime": found}),
    }


VALUES: dict[str, object] = {
    "null": None,
    "a text": "yes\0no \x1b[31m\u202e",
    "a long text": "x" * 300_000,
    "minus one": -1,
    "2^62": bson.Int64(1 << 62),
    "NaN": float("nan"),
    "infinity": float("inf"),
    "true": True,
    "a list": [1, "x", None],
    "an object": {"a": {"b": 1}},
    "bytes": b"\xff\0",
    "a date beyond the calendar": bson.DatetimeMS(1 << 60),
    "a decimal": bson.Decimal128("1E+6144"),
    "a regular expression": bson.Regex("(a+)+$"),
    "a key of no order": bson.MinKey(),
    "code": bson.Code("while (true) {}"),
}
ANSWERS: dict[str, Reply] = {
    "an empty document": of({}),
    "nothing but ok": of({"ok": 1.0}),
    "not ok": of({"ok": 0}),
    "what is found has no fields": batch({}),
    "a cursor that is not known": batch(cursor=bson.Int64(1 << 40)),
    "without an end": without_an_end,
    "more than was asked for": batch(*({"_id": n, "fileName": f"{n:014}-x.js"} for n in range(20_000))),
    "invalid UTF-8": with_bytes({"ok": 1.0, "errmsg": "abcd"}, b"abcd", b"\xff\xfe\xed\xa0"),
    "no primary": of({"ok": 0, "code": 10107, "errmsg": "not primary"}),
    "a topology of no sense": of({"ok": 0, "code": 91, "errmsg": "no", "topologyVersion": "x"}),
    "not allowed": of({"ok": 0, "code": 13, "errmsg": "not authorized"}),
    "an unknown code": of({"ok": 0, "code": 999_999, "errmsg": "?"}),
    "a duplicate of nothing": of({"ok": 1.0, "n": 0, "writeErrors": [{"index": 9, "code": 11000, "errmsg": "dup"}]}),
    "a write's error without a code": of({"ok": 1.0, "n": 0, "writeErrors": [{}]}),
    "deep nesting": raw(b"\0\0\0\0\0" + nested(50_000)),
    "a closed connection": closed,
    "silence": silence,
    "a byte at a time": a_byte_at_a_time,
    "cut off": raw(b"\0\0\0\0\0" + bson.encode({"ok": 1.0})[:-3], length=100),
    "an empty message": raw(b""),
    "no document": raw(b"\0\0\0\0\0"),
    "garbage": raw(b"\xff" * 100),
    "a length below the header": raw(b"", length=3),
    "a negative length": raw(b"", length=-1),
    "a length of 2 GB": raw(b"", length=(1 << 31) - 1),
    "an unknown operation": raw(b"\0" * 20, op_code=4242),
    "a document that says it is longer": with_bytes({"ok": 1.0}, b"\x11\0\0\0", b"\xff\xff\xff\x7f"),
    "a compressed bomb": raw(
        struct.pack("<iiB", OP_MSG, 30 << 20, 2) + zlib.compress(b"\0" * (30 << 20)), None, OP_COMPRESSED
    ),
    "compressed by nobody knows what": raw(struct.pack("<iiB", OP_MSG, 10, 99) + b"x" * 10, None, OP_COMPRESSED),
    **{f"{name} {place}": reply for name, value in VALUES.items() for place, reply in values(value).items()},
}


@asynccontextmanager
async def hostile_mongodb(answer: Reply) -> AsyncIterator[str]:
    """Where a server is that greets as MongoDB does, and gives ``answer`` to everything else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size, number, _, op_code = HEADER.unpack(await reader.readexactly(HEADER.size))
                body = await reader.readexactly(size - HEADER.size)
                if op_code == OP_QUERY:
                    writer.write(frame(OP_REPLY, 1, number, HELLO))
                elif next(iter(command_of(body))).lower() in GREETINGS:
                    writer.write(frame(OP_MSG, 1, number, HELLO))
                else:
                    await answer(writer, number)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"mongodb://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


async def outcome(block: Any, method: str) -> str:
    """What is wrong with how one call ended; empty if nothing is."""
    try:
        async with asyncio.timeout(ENDS_S):
            await called(block, method, "")
    except ReleaseError as error:
        text = str(error)
        return (
            ""
            if text == clean(text) and len(text) <= MESSAGE_MAX
            else f"{method}: not clean or too long: {text[:99]!r}"
        )
    except TimeoutError:
        return f"{method}: it does not end"
    except Exception as error:  # noqa: BLE001  # that none of these gets out is what is tested
        return f"{method}: {type(error).__name__}: {str(error)[:200]}"
    return ""


@pytest.mark.parametrize("name", ANSWERS)
async def test_a_hostile_answer_ends_as_a_value_or_as_our_error(name: str) -> None:
    """Whatever the server sends, or does not send."""
    async with hostile_mongodb(ANSWERS[name]) as uri:
        block = block_of(blocks.MongoDB, uri)
        problems = [found for method in MONGODB if (found := await outcome(block, method))]
    assert not problems, "\n".join(problems)
