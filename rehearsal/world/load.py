"""The load: a steady stream of user requests to each service, in its own process, run by its path.

Open loop: a slow server does not lower the rate. Raw asyncio with persistent connections, standard library only.
Commands come as lines of JSON on standard input, each answered by one line: ``{"do": "rates", "rates": {url: per_s}}``,
``{"do": "sign_in", "target": url, "token": token}``, ``{"do": "counts"}``, ``{"do": "reset"}``. The process ends when
standard input does.
"""

import asyncio
import json
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable
from urllib.parse import urlsplit

TIMEOUT_S = 30.0
IN_FLIGHT_MAX = 2000
"""Requests under way to one target. One more is not sent, and counted as ``unsent``."""
LATE_S = 1.0
"""A process that could not run for so long does not catch up: that would be a burst."""
FAILED, UNSENT = "failed", "unsent"
REVISION = b"\r\nx-rehearsal-revision:"
LENGTH = b"\r\ncontent-length:"


class Target:
    """One service: its stream, its idle connections, what its users met."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.url, self.host, self.port = url, parts.hostname or "", parts.port or 80
        self._path, self._netloc = parts.path if parts.path not in ("", "/") else "/api/ping", parts.netloc
        self.sign_in("")
        self.counts: Counter[tuple[str, str]] = Counter()
        self.idle: deque[Visit] = deque()
        self.in_flight = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._rate = self._due_at = 0.0

    def sign_in(self, token: str) -> None:
        """Requests carry this ID token from now on; none where it is empty."""
        signed = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"GET {self._path} HTTP/1.1\r\nHost: {self._netloc}\r\nUser-Agent: user\r\n{signed}\r\n"
        self.request = head.encode()

    def set_rate(self, per_s: float) -> None:
        """Send so many requests a second from now on; 0 stops the stream, and requests under way may end. Those who
        come after a stop are not signed in."""
        if per_s == self._rate:
            return
        if not per_s:
            self.sign_in("")
        self._rate = per_s
        if self._timer:
            self._timer.cancel()
        if per_s:
            loop = asyncio.get_running_loop()
            self._due_at = loop.time() + 1 / per_s
            self._timer = loop.call_at(self._due_at, self._tick)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._due_at = max(self._due_at, loop.time() - LATE_S)
        while self._due_at <= loop.time():
            self._send()
            self._due_at += 1 / self._rate
        self._timer = loop.call_at(self._due_at, self._tick)

    def _send(self) -> None:
        if self.in_flight >= IN_FLIGHT_MAX:
            self.counts["", UNSENT] += 1
            return
        self.in_flight += 1
        while self.idle:
            visit = self.idle.pop()
            if visit.ask(self._answered):
                return
        self._open()

    def _open(self) -> None:
        task = asyncio.create_task(self._ask_on_a_fresh_connection())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask_on_a_fresh_connection(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, visit = await loop.create_connection(lambda: Visit(self), self.host, self.port)
        except OSError:  # TimeoutError is one
            self._answered("", FAILED)
            return
        if not visit.ask(self._answered):
            self._answered("", FAILED)

    def again(self) -> None:
        """An idle connection was closed before any answer: ask once more on a fresh one, as browsers do."""
        self._open()

    def _answered(self, revision: str, status: str) -> None:
        self.in_flight -= 1
        self.counts[revision, status] += 1


class Visit(asyncio.Protocol):
    """One connection. It carries one request at a time."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._buffer = bytearray()
        self._done: Callable[[str, str], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._was_used = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self, done: Callable[[str, str], None]) -> bool:
        """Send the request; ``done(revision, status)`` is called once. False when the connection is closed already."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._done = done
        self._buffer.clear()
        self._timer = asyncio.get_running_loop().call_later(TIMEOUT_S, self._give_up)
        self._transport.write(self._target.request)
        return True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if self._done is None or end < 0:
            return
        head = bytes(self._buffer[: end + 2])
        length = _header(head, LENGTH)
        if length.isdecimal() and len(self._buffer) >= end + 4 + int(length):
            self._was_used = True
            self._finish(head)
            if self._transport and not self._transport.is_closing():
                self._target.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self in self._target.idle:
            self._target.idle.remove(self)
        if self._done is None:
            return
        if self._was_used and not self._buffer:
            self._forget()
            self._target.again()
        elif exc is None and b"\r\n\r\n" in self._buffer and not _header(bytes(self._buffer), LENGTH):
            self._finish(bytes(self._buffer))  # a body that ends with its connection
        else:
            self._fail()

    def _give_up(self) -> None:
        self._fail()
        if self._transport:
            self._transport.abort()

    def _finish(self, head: bytes) -> None:
        status = head[9:12].decode("latin-1")
        self._forget()(_header(head, REVISION), status if status.isdecimal() else FAILED)

    def _fail(self) -> None:
        if self._done:
            self._forget()("", FAILED)

    def _forget(self) -> Callable[[str, str], None]:
        """The request is over."""
        assert self._done
        assert self._timer
        done, self._done = self._done, None
        self._timer.cancel()
        return done


def _header(head: bytes, name: bytes) -> str:
    start = head.lower().find(name)
    if start < 0:
        return ""
    start += len(name)
    return head[start : head.index(b"\r\n", start)].strip().decode("latin-1")


class LoadGenerator:
    """All targets, and the commands."""

    def __init__(self) -> None:
        self._targets: dict[str, Target] = {}

    def obey(self, line: bytes) -> object:
        """The answer to one command."""
        match json.loads(line):
            case {"do": "rates", "rates": rates}:
                for url in rates.keys() | self._targets.keys():
                    self._targets.setdefault(url, Target(url)).set_rate(float(rates.get(url, 0)))
                return {"ok": True}
            case {"do": "sign_in", "target": url, "token": token}:
                self._targets.setdefault(url, Target(url)).sign_in(token)
                return {"ok": True}
            case {"do": "reset"}:
                for target in self._targets.values():
                    target.counts.clear()
                return {"ok": True}
            case {"do": "counts"}:
                return [
                    {"target": target.url, "revision": revision, "status": status, "count": count}
                    for target in self._targets.values()
                    for (revision, status), count in sorted(target.counts.items())
                ]
        return {"error": "not understood"}


async def main() -> None:
    """Carry out commands until standard input ends."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    load = LoadGenerator()
    while line := await reader.readline():
        print(json.dumps(load.obey(line)), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; it ends with the process that started it
    asyncio.run(main())
