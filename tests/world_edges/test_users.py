"""The load: its counts, and its rate, which does not depend on the answers."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from rehearsal.world.users import Users, UsersGoneError

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nx-rehearsal-revision: r1\r\ncontent-length: 2\r\n\r\nok"
ORPHAN = """
import asyncio
from rehearsal.world.users import Users

async def main():
    async with Users.start() as users:
        print(users.pid, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[str]:
    """A server that does to each connection what ``answer`` says. Its URL."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*listening.sockets[0].getsockname())
    finally:
        listening.close()
        for writer in writers:
            writer.close()


Counts = dict[tuple[str, str], int]
Counted = Callable[..., Awaitable[Counts]]


@pytest.fixture
def counted(eventually: Any) -> Counted:
    """(revision, status) -> count, once there are at least, or exactly, so many in all."""

    async def counts(users: Users, at_least: int = 0, exactly: Callable[[], Awaitable[float]] | None = None) -> Counts:
        found: Counts = {}

        async def are_enough() -> bool:
            found.update({(one["revision"], one["status"]): one["count"] for one in await users.counts()})
            total = sum(found.values())
            return total == await exactly() if exactly else total >= at_least

        await eventually(are_enough)
        return found

    return counts


async def test_every_request_is_counted_once(start_app: Any, counted: Counted) -> None:
    """What users counted by status is what the server answered, and the server's share of errors in it is exact."""
    app = await start_app("errors=0.25")
    async with Users.start() as users:
        await users.rates({f"http://{app.address}": 200})
        await counted(users, 40)
        await users.rates({})
        found = await counted(users, exactly=lambda: app.metric("http_requests_total"))
    assert found["", "500"] == sum(found.values()) // 4
    assert found.keys() == {("", "200"), ("", "500")}


async def test_counts_are_by_target_and_revision(counted: Counted) -> None:
    """Each target has its own stream, and the revision is the one that the proxy names."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(OK)

    async with server(answer) as one, server(answer) as other, Users.start() as users:
        await users.rates({one: 50, other: 100})
        await counted(users, 10)
        counts = await users.counts()
        assert {(c["target"], c["revision"], c["status"]) for c in counts} == {(one, "r1", "200"), (other, "r1", "200")}
        await users.reset()
        assert sum(one["count"] for one in await users.counts()) < 10


async def test_callers_sign_in_until_their_stream_is_stopped() -> None:
    """A private service answers those who carry its ID token."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(OK)

    async with server(answer) as url, Users.start() as users:
        await users.sign_in(url, "a.b.c")
        for is_signed in (True, False):
            await users.rates({url: 100})
            async with asyncio.timeout(20):
                while not heads:  # noqa: ASYNC110  # another process sends
                    await asyncio.sleep(0.02)
            await users.rates({})
            assert (b"Authorization: Bearer a.b.c\r\n" in heads[0]) is is_signed
            await asyncio.sleep(0.2)
            heads.clear()


async def test_the_rate_is_never_exceeded(eventually: Any) -> None:
    """A server that does not answer at all gets requests at the same rate: the stream is open loop."""
    asked = 0

    async def swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.readuntil(b"\r\n\r\n"):
            asked += 1

    async def is_asked() -> bool:
        return asked >= 20

    async with server(swallow) as url, Users.start() as users:
        began = time.monotonic()
        await users.rates({url: 50})
        await eventually(is_asked)
        assert asked <= 50 * (time.monotonic() - began) + 1
        assert await users.counts() == []


async def test_refused_connections_are_failed(closed_port: int, counted: Counted) -> None:
    """Without a listener each request is a failed one, of no revision."""
    async with Users.start() as users:
        await users.rates({f"http://127.0.0.1:{closed_port}": 100})
        assert (await counted(users, 5)).keys() == {("", "failed")}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", id="half an answer"),
        pytest.param(b"garbage\r\n\r\n", id="no HTTP"),
    ],
)
async def test_broken_answers_are_failed(said: bytes, counted: Counted) -> None:
    """A fresh connection that breaks off is a failed request, and is not tried again."""
    connections = 0

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        await reader.readuntil(b"\r\n\r\n")
        connections += 1
        writer.write(said)

    async def so_many() -> float:
        return connections

    async with server(break_off) as url, Users.start() as users:
        await users.rates({url: 50})
        await counted(users, 5)
        await users.rates({})
        assert (await counted(users, exactly=so_many)).keys() == {("", "failed")}


async def test_a_closed_idle_connection_is_no_failure(counted: Counted) -> None:
    """A server that closes each connection after its first answer, without saying so: every request is answered."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async with server(once) as url, Users.start() as users:
        await users.rates({url: 200})
        assert (await counted(users, 50)).keys() == {("r1", "200")}


async def test_a_broken_reused_connection_is_tried_once_more(counted: Counted) -> None:
    """A second request on a connection that breaks without an answer is sent again on a new one, as browsers do."""
    broken = 0

    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal broken
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")
        broken += 1

    async with server(twice) as url, Users.start() as users:
        await users.rates({url: 50})
        assert (await counted(users, 10)).keys() == {("r1", "200")}
    assert broken > 0


async def test_a_load_process_that_has_ended_raises() -> None:
    """Reading the counts of an ended process is an error."""
    async with Users.start() as users:
        os.kill(users.pid, signal.SIGKILL)
        with pytest.raises(UsersGoneError):
            await users.counts()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
async def test_the_load_process_does_not_outlive_its_parent(eventually: Any) -> None:
    """When the process that started it is killed, it ends too."""
    pipe = asyncio.subprocess.PIPE
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", ORPHAN, stdout=pipe)
    users = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()

    async def are_gone() -> bool:
        return not _is_alive(users)

    await eventually(are_gone)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
