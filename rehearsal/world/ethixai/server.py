"""The process of an instance: its socket, its health checks, the CPU and memory that it wastes, and its shutdown."""

import asyncio
import itertools
import json
import signal
import socket
import sys
import time
from collections.abc import Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TextIO

from ethixai.api import PINGS, ROUTES, Answer, encoded, patched, read_only, respond
from ethixai.behaviour import LATENCY_S, BadBehaviour, Behaviour, Fate, Settings, parse
from ethixai.metrics import CONTENT_TYPE, Metrics
from ethixai.wire import Connection, Request

HEALTH = ("/health/liveness", "/health/readiness")
GRACE_S = 9.0
"""Cloud Run kills an instance 10 s after SIGTERM."""
ERROR_LINES_PER_S = 10
MIB = 1024 * 1024
LEAK_STEP_S = 0.25
BURN_SLICE_S, BURN_REST_S = 0.004, 0.01
FAILED = Answer(500, encoded({"error": "internal error"}))
NOT_SIGNED_IN = Answer(401, encoded({"error": "not signed in"}))


class Service:
    """Answers requests as its behaviour says, and counts them."""

    def __init__(self, job: str, settings: Settings, metrics: list[Metrics], dependency: Path | None = None) -> None:
        self._routes = patched(ROUTES[job]) if "patched" in settings.flags else ROUTES[job]
        if "read_only" in settings.flags:
            self._routes = read_only(self._routes)
        self._behaviour = Behaviour(settings, dependency)
        self._counting, self._asked = itertools.cycle(metrics), itertools.cycle(metrics)
        self._is_ready = "never_ready" not in settings.flags
        self._has_metrics = "no_metrics" not in settings.flags
        self._loop = asyncio.get_running_loop()
        self._line_times: list[float] = []

    def handle(self, request: Request, connection: Connection) -> None:
        """Answer health and metrics at once, anything else after its delay."""
        if request.path in HEALTH:
            status, words = (200, "ok") if self._is_ready else (503, "starting")
            self._count(request.path, request.method, status, 0.0)
            connection.reply(status, encoded({"status": words}))
        elif request.path == "/metrics" and self._has_metrics:
            self._count("/metrics", request.method, 200, 0.0)
            connection.reply(200, next(self._asked).text(), CONTENT_TYPE)
        else:
            now = self._loop.time()
            smoke = bool(request.header(b"x-smoke-test"))
            fate = self._behaviour.fate(smoke)
            if fate is not None:
                self._loop.call_later(LATENCY_S, self._meet, fate, request, connection)
                return
            fails = self._behaviour.fails(now, smoke)
            finish = partial(self._finish, request, connection, now, fails)
            self._loop.call_later(self._behaviour.delay_s(now, smoke), finish)

    def _finish(self, request: Request, connection: Connection, arrived: float, fails: bool) -> None:
        handler, answer = respond(self._routes, request)
        if fails:
            answer = FAILED
            self._tell_error(handler, request.method)
        self._count(handler, request.method, answer.status, self._loop.time() - arrived)
        connection.reply(answer.status, answer.body, answer.content_type, answer.headers)

    def _meet(self, fate: Fate, request: Request, connection: Connection) -> None:
        """What an application does not see of itself: only a refused user is counted; one that hangs stays so."""
        match fate:
            case Fate.RESETS:
                connection.cut()
            case Fate.UNCOUNTED:
                connection.reply(FAILED.status, FAILED.body)
            case Fate.CLIENT_ERROR:
                route, _ = respond(self._routes, request)
                self._count(route, request.method, NOT_SIGNED_IN.status, LATENCY_S)
                connection.reply(NOT_SIGNED_IN.status, NOT_SIGNED_IN.body)

    def _count(self, route: str, method: str, status: int, seconds: float) -> None:
        next(self._counting).observe(route, method, status, seconds)

    def _tell_error(self, handler: str, method: str) -> None:
        """One structured line on stderr, at most `ERROR_LINES_PER_S`."""
        now = self._loop.time()
        self._line_times = [at for at in self._line_times if now - at < 1.0]
        if len(self._line_times) < ERROR_LINES_PER_S:
            self._line_times.append(now)
            message = f"{method} {handler} failed: upstream connection reset"
            _tell(sys.stderr, "ERROR", message, handler=handler, status=500)


def _tell(stream: TextIO, severity: str, message: str, **fields: object) -> None:
    print(json.dumps({"severity": severity, "message": message, **fields}), file=stream, flush=True)


async def serve(environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    try:
        behaviour = environ.get("BEHAVIOUR", "")
        if environ.get("APP_ENV") == "staging":  # one image, another behaviour there: faults that only users bring out
            behaviour = environ.get("BEHAVIOUR_STAGING", behaviour)
        settings = parse(behaviour)
        job = environ.get("JOB", "")
        if job not in ROUTES:
            raise BadBehaviour(f"JOB: {job!r} is none of {', '.join(ROUTES)}")
    except BadBehaviour as bad:
        _tell(sys.stderr, "CRITICAL", str(bad))
        return 2
    if "dies" in settings.flags:
        _tell(sys.stderr, "CRITICAL", "cannot start: MONGODB_URI is not set")
        return 1
    cpu_limit = float(environ.get("CPU_LIMIT", "0")) or 1.0
    memory_limit = int(environ.get("MEMORY_LIMIT", "0")) or 512 * MIB
    dependency = Path(environ["DEPENDENCY"]) if environ.get("DEPENDENCY") else None
    routes = [(route, method) for route, methods in PINGS.items() for method in methods]
    metrics = [
        Metrics(cpu_limit, memory_limit, routes, label=settings.labels, edges_s=settings.edges_s)
        for _ in range(settings.workers)
    ]
    service = Service(job, settings, metrics, dependency)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    waste = [asyncio.create_task(one) for one in _waste(settings, cpu_limit)]
    open_connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(service.handle, open_connections), sock=_listener(environ), backlog=512
    )
    _tell(sys.stdout, "INFO", f"{job} is listening", revision=environ.get("K_REVISION", ""))
    await stop.wait()
    server.close()
    await _drain(open_connections)
    for task in waste:
        task.cancel()
    return 0


def _listener(environ: Mapping[str, str]) -> socket.socket:
    if "LISTEN_FD" in environ:
        return socket.socket(fileno=int(environ["LISTEN_FD"]))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(environ.get("PORT", "8080"))))
    return listener


async def _drain(open_connections: set[Connection]) -> None:
    """What is in flight is answered, for at most `GRACE_S`."""
    closed = [connection.closed for connection in open_connections]
    for connection in list(open_connections):
        connection.retire()
    if closed:
        await asyncio.wait(closed, timeout=GRACE_S)


def _waste(settings: Settings, cpu_limit: float) -> list[Coroutine[None, None, None]]:
    wasted = []
    if settings.leak_mib_per_s:
        wasted.append(_leak(settings.leak_mib_per_s))
    if settings.burns:
        wasted.append(_burn(settings.burns * cpu_limit))
    return wasted


async def _leak(mib_per_s: float) -> None:
    """Hold on to memory that is really there: zeroed pages would not be resident before they are written."""
    kept = []
    while True:
        kept.append(b"\x01" * int(mib_per_s * LEAK_STEP_S * MIB))
        await asyncio.sleep(LEAK_STEP_S)


async def _burn(cores: float) -> None:
    """Use ``cores`` CPU seconds a second in all, in slices so short that requests hardly wait."""
    last = time.monotonic()
    target = time.process_time()
    while True:
        now = time.monotonic()
        target = max(target + cores * (now - last), time.process_time() - 1.0)
        last = now
        if time.process_time() < target:
            until = time.process_time() + BURN_SLICE_S
            while time.process_time() < until:
                pass
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(BURN_REST_S)
