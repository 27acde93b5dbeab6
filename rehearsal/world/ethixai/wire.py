"""HTTP/1.1 on one connection: keep-alive, pipelining in order, bodies by Content-Length."""

import asyncio
from collections.abc import Callable
from urllib.parse import unquote

HEAD_BYTES = 64 * 1024
BODY_BYTES = 32 * 1024 * 1024

REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Malformed(Exception):
    """The request cannot be answered; ``args[0]`` is the status for the reply."""


class Request:
    """One request. ``path`` has no query string."""

    __slots__ = ("_head", "_lower", "body", "keep_alive", "method", "path")

    def __init__(self, head: bytes, body: bytes) -> None:
        """Raises Malformed when the request line is none."""
        try:
            method, target, version = head[: head.index(b"\r\n")].decode("ascii").split(" ")
        except (ValueError, UnicodeDecodeError):
            raise Malformed(400) from None
        self._head, self._lower, self.body = head, head.lower(), body
        self.method, self.path = method, unquote(target.partition("?")[0])
        self.keep_alive = version == "HTTP/1.1" and self.header(b"connection").lower() != "close"

    def header(self, name: bytes) -> str:
        """The value of the header ``name`` (lower case), or an empty string."""
        return _header(self._head, self._lower, name)


def _header(head: bytes, lower: bytes, name: bytes) -> str:
    start = lower.find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    return head[start : head.index(b"\r\n", start)].strip().decode("latin-1")


class Connection(asyncio.Protocol):
    """Hands one request after another to ``handle``, which answers each with `reply`, now or later."""

    def __init__(self, handle: Callable[[Request, "Connection"], None], open_connections: set["Connection"]) -> None:
        self._handle, self._open = handle, open_connections
        self._buffer = bytearray()
        self._promised = False
        self._keep_alive = True
        self._transport: asyncio.Transport | None = None
        self.busy = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._transport = None
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.busy:
            self._next()

    def retire(self) -> None:
        """Close now if idle, else after the answer that is being made."""
        self._keep_alive = False
        if not self.busy and self._transport:
            self._transport.close()

    def cut(self) -> None:
        """Close in the middle of an answer's head, as a process does that dies."""
        if self._transport:
            self._transport.write(b"HTTP/1.1\r\n\r\n")
            self._transport.close()

    def reply(self, status: int, body: bytes = b"", content_type: str = "application/json", headers: str = "") -> None:
        """Answer the current request. ``headers`` are whole lines. Does nothing when the client has disconnected."""
        self.busy = False
        if self._transport is None or self._transport.is_closing():
            return
        kind = f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n" if status != 204 else ""
        close = "" if self._keep_alive else "connection: close\r\n"
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\n{kind}{headers}{close}\r\n"
        self._transport.write(head.encode("latin-1") + body)
        if not self._keep_alive:
            self._transport.close()
        elif self._buffer:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self.busy:
            return
        try:
            request = self._take()
        except Malformed as malformed:
            self._keep_alive = False
            self.reply(malformed.args[0], b'{"error": "malformed request"}')
            return
        if request is None:
            return
        self.busy = True
        self._keep_alive = self._keep_alive and request.keep_alive
        self._handle(request, self)

    def _take(self) -> Request | None:
        """The next whole request of the buffer, or None. Raises Malformed."""
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise Malformed(431)
            return None
        head = bytes(self._buffer[: end + 2])
        length = self._body_length(head)
        stop = end + 4 + length
        if len(self._buffer) < stop:
            return None
        body = bytes(self._buffer[end + 4 : stop])
        del self._buffer[:stop]
        self._promised = False
        return Request(head, body)

    def _body_length(self, head: bytes) -> int:
        """The number of bytes of the body. Sends 100 Continue to a client that asks for it. Raises Malformed."""
        lower = head.lower()
        if b"\r\ntransfer-encoding:" in lower:
            raise Malformed(411)
        text = _header(head, lower, b"content-length") or "0"
        if not text.isdecimal():
            raise Malformed(400)
        if int(text) > BODY_BYTES:
            raise Malformed(413)
        if b"\r\nexpect: 100-continue" in lower and not self._promised and self._transport:
            self._promised = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return int(text)
