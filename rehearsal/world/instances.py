"""Instances of a revision: real processes, watched, logged, restarted, stopped."""

import asyncio
import contextlib
import json
import math
import os
import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.world import child

APP = Path(__file__).with_name("app.py")
STARTUP_POLL_S = 0.02
MEMORY_POLL_S = 0.2
RESTART_DELAYS_S = (0.0, 0.1, 0.2, 0.5, 1.0)
MIB = 1024 * 1024
LINE_BYTES = 256 * 1024
"""Cloud Logging's limit of one entry; a longer line is cut."""

STDOUT, STDERR, SYSTEM = "stdout", "stderr", "varlog/system"


@dataclass(frozen=True)
class Line:
    """One line for Cloud Logging: which log, how bad, and text or a JSON object."""

    log: str
    severity: str
    payload: str | dict[str, object]


LogSink = Callable[[str, Line], None]
"""Takes (instance id, line)."""


@dataclass(frozen=True)
class Program:
    """What an instance runs. ``env`` is the image's with the template's over it."""

    service: str
    revision: str
    env: Mapping[str, str]
    memory_limit_bytes: int
    cpu_limit: float = 1.0
    """Cores, as the instance's environment says. They are not enforced."""
    app: Path = APP

    @property
    def job(self) -> str:
        """The service's name without the product's, and without the number of one that there are more of."""
        return re.sub(r"-\d+$", "", self.service.removeprefix("ethixai-"))


class StartFailedError(Exception):
    """The instance ended, or did not answer its startup probe in time."""


@dataclass(eq=False)
class Instance:
    """One process that listens on a socket we hold, so that its port is the same after a restart.

    While a killed process is being restarted, requests wait in the socket's queue, as Cloud Run's wait for an instance.
    """

    program: Program
    log: LogSink
    startup_timeout_s: float
    number: int = 1
    listener: socket.socket = field(default_factory=lambda: _listener())
    instance_id: str = ""
    restarts: int = 0
    _process: asyncio.subprocess.Process | None = None
    _watcher: asyncio.Task[None] | None = None
    _readers: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def address(self) -> str:
        """Where it listens, ``host:port``."""
        host, port = self.listener.getsockname()
        return f"{host}:{port}"

    @property
    def pid(self) -> int | None:
        """The process id, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """The instance answers its startup probe and is watched. Raises StartFailedError."""
        try:
            await self._spawn()
        except StartFailedError:
            await self.stop(grace_s=0)
            raise
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self, grace_s: float) -> None:
        """The process has ended: SIGTERM, then SIGKILL after ``grace_s``."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._end(grace_s)
        if self._readers:
            await asyncio.wait(self._readers, timeout=1)
        self.listener.close()

    async def _end(self, grace_s: float) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self) -> None:
        self.instance_id = uuid.uuid4().hex
        self._process = process = await asyncio.create_subprocess_exec(
            *child.command(self.program.app),
            env=self._environ(),
            pass_fds=[self.listener.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        assert process.stdout
        assert process.stderr
        for stream, log, severity in ((process.stdout, STDOUT, "INFO"), (process.stderr, STDERR, "ERROR")):
            reader = asyncio.create_task(self._read(stream, log, severity, self.instance_id))
            self._readers.add(reader)
            reader.add_done_callback(self._readers.discard)
        try:
            await asyncio.wait_for(self._probe(), self.startup_timeout_s)
        except TimeoutError:
            await self._end(grace_s=0)
            raise StartFailedError("did not answer its startup probe in time") from None

    async def _probe(self) -> None:
        """Ask ``/health/liveness`` until it answers 200. Raises StartFailedError when the process ends first."""
        assert self._process
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while True:
                asked = asyncio.ensure_future(_is_live(self.address))
                await asyncio.wait([asked, ended], return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    asked.cancel()
                    raise StartFailedError(f"ended with exit code {ended.result()}")
                if asked.result():
                    return
                await asyncio.sleep(STARTUP_POLL_S)
        finally:
            ended.cancel()

    async def _watch(self) -> None:
        """Restart the process whenever it ends or outgrows its memory."""
        while True:
            assert self._process
            ended = asyncio.ensure_future(self._process.wait())
            while not ended.done():
                await asyncio.wait([ended], timeout=MEMORY_POLL_S)
                if not ended.done():
                    self._check_memory()
            if ended.result() >= 0:
                self._platform(f"Container called exit({ended.result()}).", "WARNING")
            await self._restart()

    async def _restart(self) -> None:
        while True:
            await asyncio.sleep(RESTART_DELAYS_S[min(self.restarts, len(RESTART_DELAYS_S) - 1)])
            self.restarts += 1
            try:
                return await self._spawn()
            except StartFailedError as error:
                self._platform(f"The instance could not be started again: it {error}.", "ERROR")

    def _check_memory(self) -> None:
        """Kill a process that is larger than its limit, and say so as Cloud Run does."""
        limit, used = self.program.memory_limit_bytes, _resident_bytes(self.pid)
        if used <= limit or self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._platform(
            f"Memory limit of {limit // MIB} MiB exceeded with {math.ceil(used / MIB)} MiB used. "
            "Consider increasing the memory limit, see https://cloud.google.com/run/docs/configuring/memory-limits",
            "ERROR",
        )

    def _platform(self, text: str, severity: str) -> None:
        self.log(self.instance_id, Line(SYSTEM, severity, text))

    async def _read(self, stream: asyncio.StreamReader, log: str, severity: str, instance_id: str) -> None:
        async for text in _lines(stream):
            self.log(instance_id, parse_line(text, log, severity))

    def _environ(self) -> dict[str, str]:
        base = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
        return (
            base
            | dict(self.program.env)
            | {
                "K_SERVICE": self.program.service,
                "K_REVISION": self.program.revision,
                "K_CONFIGURATION": self.program.service,
                "PORT": str(self.listener.getsockname()[1]),
                "LISTEN_FD": str(self.listener.fileno()),
                "INSTANCE_ID": self.instance_id,
                "JOB": self.program.job,
                "CPU_LIMIT": str(self.program.cpu_limit),
                "MEMORY_LIMIT": str(self.program.memory_limit_bytes),
                "PYTHONUNBUFFERED": "1",
            }
        )


def parse_line(text: str, log: str, severity: str) -> Line:
    """A line as Cloud Run logs it: a JSON object is structured, and its ``severity`` is the entry's."""
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            payload = json.loads(text)
            return Line(log, str(payload.pop("severity", severity)).upper(), payload)
    return Line(log, severity, text)


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    while True:
        try:
            raw = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as end:
            raw = end.partial
            if not raw:
                return
        except asyncio.LimitOverrunError as overrun:
            raw = await stream.readexactly(overrun.consumed)
        if text := raw.decode(errors="replace").strip():
            yield text


async def _is_live(address: str) -> bool:
    """Whether ``GET /health/liveness`` is answered with 200."""
    host, _, port = address.partition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    try:
        writer.write(f"GET /health/liveness HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode())
        status = await reader.readline()
        return status.split()[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        writer.close()


def _resident_bytes(pid: int | None) -> int:
    """The resident set of a process; 0 when it is gone or where the kernel does not say (no ``/proc``)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _listener() -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    return listener
