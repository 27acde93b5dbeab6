"""MongoDB's wire protocol: the messages that the stand-in reads and writes."""

import socket
import struct
from collections.abc import Iterator
from typing import Any

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEADER = struct.Struct("<iiii")
CHECKSUM, MORE_TO_COME = 1, 2
AWAIT_CAPABLE = 8
CODEC: bson.CodecOptions[dict[str, Any]] = bson.CodecOptions(tz_aware=False)
Document = dict[str, Any]


def frame(op_code: int, request_id: int, answers: int, document: Document) -> bytes:
    """A whole message with one document: an OP_MSG, or the OP_REPLY that a driver's first hello wants."""
    head = struct.pack("<iqii", AWAIT_CAPABLE, 0, 0, 1) if op_code == OP_REPLY else struct.pack("<I", 0) + b"\0"
    body = head + bson.encode(document)
    return HEADER.pack(HEADER.size + len(body), request_id, answers, op_code) + body


def wants_answer(body: bytes) -> bool:
    """Whether the sender of an OP_MSG waits for one; an unacknowledged write does not."""
    return not struct.unpack_from("<I", body)[0] & MORE_TO_COME


def read(connection: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes, or nothing where the other side has closed the connection."""
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def command_of(body: bytes) -> Document:
    """The command of an OP_MSG: the document of kind 0, with each sequence of kind 1 as a list in it."""
    flags = struct.unpack_from("<I", body)[0]
    end = len(body) - (4 if flags & CHECKSUM else 0)
    command: Document = {}
    sequences: Document = {}
    for kind, content in _sections(body[4:end]):
        if kind == 0:
            command = bson.decode(content, CODEC)
        else:
            name, _, documents = content.partition(b"\0")
            sequences[name.decode()] = bson.decode_all(documents, CODEC)
    return command | sequences


def _sections(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Each section's kind and content; a document and a sequence both begin with their size."""
    at = 0
    while at < len(payload):
        kind = payload[at]
        size = struct.unpack_from("<i", payload, at + 1)[0]
        content = payload[at + 1 : at + 1 + size]
        yield kind, content if kind == 0 else content[4:]
        at += 1 + size
