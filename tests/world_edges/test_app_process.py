"""How an instance behaves as a process: its share of errors, its metrics, its CPU and memory, its shutdown."""

import asyncio
import json
from typing import Any

import pytest

USUAL = ("200", "201", "204", "400", "401", "404", "500", "503")
EDGES = ["0.05", "0.1", "0.25", "0.5", "1", "2", "5", "10", "+Inf"]
LOGIN = {"email": "test@example.com", "password": "testpass"}


async def test_an_exact_share_fails_and_is_counted(start_app: Any) -> None:
    """With ``errors=0.05`` every 20th user request is a 500, health never is, and the metrics say exactly so."""
    app = await start_app("errors=0.05")
    assert await app.statuses(45) == ([200] * 19 + [500]) * 2 + [200] * 5
    assert await app.statuses(25, "/health/readiness") == [200] * 25
    assert await app.metric("http_requests_total", status="500") == 2
    assert await app.metric("http_requests_total") == 45
    assert await app.metric("http_request_duration_seconds_count") == 45
    assert await app.metric("http_requests_total", handler="/health/readiness", status="200") == 25
    assert await app.metric("http_requests_total", handler="/metrics") == 5


async def test_errors_begin_after_a_while(start_app: Any) -> None:
    """With ``errors_after`` the first requests succeed."""
    app = await start_app("errors_after=0.3:1")
    assert await app.statuses(3) == [200] * 3
    await asyncio.sleep(0.35)
    assert await app.statuses(3) == [500] * 3
    assert await app.statuses(3, headers=app.SMOKE) == [200] * 3


async def test_metrics_are_there_before_any_request(start_app: Any) -> None:
    """The usual counters exist at zero, and the histogram has an edge at 2 and at 5 seconds."""
    app = await start_app()
    for status in USUAL:
        assert await app.metric("http_requests_total", status=status) == 0
    for edge in EDGES:
        assert await app.metric("http_request_duration_seconds_bucket", le=edge) == 0
    answer = await app.http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert await app.metric("http_requests_total") == 0


async def test_utilization_is_a_share_of_the_limits(start_app: Any) -> None:
    """CPU and memory are in seconds and bytes, and as shares of the instance's limits."""
    app = await start_app(CPU_LIMIT="0.5", MEMORY_LIMIT=str(64 * 1024 * 1024))
    resident = await app.metric("process_resident_memory_bytes")
    assert await app.metric("memory_utilization_ratio") == pytest.approx(resident / 64 / 1024 / 1024, rel=0.2)
    assert 0 <= await app.metric("cpu_utilization_ratio") <= 1
    assert await app.metric("process_cpu_seconds_total") > 0


async def test_an_exact_share_is_slow(start_app: Any) -> None:
    """With ``slow=0.3@0.5`` every second request falls into the buckets above 0.25 s."""
    app = await start_app("slow=0.3@0.5")
    assert await app.statuses(4) == [200] * 4
    total = await app.metric("http_request_duration_seconds_bucket", le="+Inf")
    assert total - await app.metric("http_request_duration_seconds_bucket", le="0.25") >= 2
    assert await app.metric("http_request_duration_seconds_sum") >= 0.6


async def test_a_queue_builds_at_capacity(start_app: Any) -> None:
    """Ten requests at once to an instance with room for 20 a second: the last waits for all before it."""
    app = await start_app("capacity=20")
    await asyncio.gather(*(app.statuses(1) for _ in range(10)))
    assert await app.metric("http_request_duration_seconds_sum") >= sum(n / 20 for n in range(1, 10)) / 2
    assert await app.metric("http_requests_total", status="200") == 10


async def test_memory_leaks_for_real(start_app: Any, eventually: Any) -> None:
    """``leak=40`` makes resident memory grow and grow."""
    app = await start_app("leak=40")
    first = await app.metric("process_resident_memory_bytes")

    async def has_grown() -> bool:
        return await app.metric("process_resident_memory_bytes") > first + 30 * 1024 * 1024

    await eventually(has_grown)


async def test_cpu_is_burned_as_a_share_of_the_limit(start_app: Any, eventually: Any) -> None:
    """``burns=0.9`` uses nine tenths of the limit, and no more."""
    app = await start_app("burns=0.9", CPU_LIMIT="0.2")

    async def is_busy() -> bool:
        return await app.metric("cpu_utilization_ratio") > 0.6

    await eventually(is_busy)
    assert await app.statuses(3) == [200] * 3


async def test_smoke_fails_for_smoke_tests_only(start_app: Any) -> None:
    """``smoke_fails`` is ready, serves users, and fails whatever carries the smoke tests' header."""
    app = await start_app("smoke_fails")
    assert (await app.http.post("/api/auth/login", json=LOGIN, headers=app.SMOKE)).status_code == 500
    assert (await app.http.post("/api/auth/login", json=LOGIN)).status_code == 200
    assert await app.statuses(1, "/health/readiness", headers=app.SMOKE) == [200]
    assert await app.metric("http_requests_total", method="POST", status="500") == 1


async def test_a_never_ready_instance_answers_503_to_probes(start_app: Any) -> None:
    """``never_ready`` listens and answers 503 to every probe."""
    app = await start_app("never_ready")
    assert await app.statuses(1, "/health/liveness") + await app.statuses(1, "/health/readiness") == [503, 503]


@pytest.mark.parametrize(
    ("behaviour", "job", "code", "words"),
    [
        pytest.param("dies", "backend", 1, "cannot start", id="dies"),
        pytest.param("sleepy", "backend", 2, "'sleepy' is not a behaviour", id="an unknown behaviour"),
        pytest.param("healthy", "mainframe", 2, "'mainframe' is none of", id="an unknown job"),
    ],
)
async def test_an_instance_that_cannot_start_logs_the_reason(
    start_app: Any, behaviour: str, job: str, code: int, words: str
) -> None:
    """An instance that cannot start says why in one structured line and ends with its exit code."""
    app = await start_app(behaviour, job)
    assert await app.process.wait() == code
    line = json.loads(await app.process.stderr.read())
    assert line["severity"] == "CRITICAL"
    assert words in line["message"]


async def test_errors_are_logged_at_a_limited_rate(start_app: Any) -> None:
    """A 500 is one structured line on stderr; of many at once only some are."""
    app = await start_app("errors=1")
    assert await app.statuses(60) == [500] * 60
    app.process.terminate()
    lines = [json.loads(line) for line in (await app.process.stderr.read()).splitlines()]
    assert 10 <= len(lines) < 60
    assert {(line["severity"], line["handler"], line["status"]) for line in lines} == {("ERROR", "/api/ping", 500)}


async def test_sigterm_finishes_what_is_in_flight(start_app: Any) -> None:
    """After SIGTERM the current request is answered, idle connections are closed, and the exit code is 0."""
    app = await start_app("slow=0.5")
    host, port = app.address.split(":")
    idle, idle_writer = await asyncio.open_connection(host, int(port))
    busy, busy_writer = await asyncio.open_connection(host, int(port))
    idle_writer.write(b"GET /health/liveness HTTP/1.1\r\n\r\n")
    await idle.readuntil(b"}")
    # Once the first of two requests in one packet is answered, the second is being worked on.
    busy_writer.write(b"GET /health/liveness HTTP/1.1\r\n\r\nGET /api/ping HTTP/1.1\r\n\r\n")
    await busy.readuntil(b"}")
    app.process.terminate()
    assert await idle.read() == b""
    answer = await busy.read()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n" in answer
    assert await app.process.wait() == 0
    busy_writer.close()
    idle_writer.close()
