"""The playbook's smoke tests against real small servers of EthixAI's API."""

import asyncio
import contextlib
import json
import re

import httpx
import pytest

from blocks import EthixAI
from blocks.ethixai import PROBES_AT_ONCE
from blocks.http import quoted
from playbook.errors import Refused, SmokeFailed, Transient
from playbook.release.request import ExploitCheck
from playbook.release.version import SmokeTest
from rehearsal.world.remote import RemoteWorld

BACKEND_TESTS = [SmokeTest.HEALTH, SmokeTest.AUTH, SmokeTest.ANALYZE, SmokeTest.METRICS]


@pytest.mark.parametrize("test", BACKEND_TESTS)
async def test_a_healthy_backend_passes(ethixai: EthixAI, world: RemoteWorld, test: SmokeTest) -> None:
    """Each test says in a sentence what it saw."""
    assert (await ethixai.run(test, world.url("ethixai-backend"))).endswith(".")


@pytest.mark.parametrize(("test", "made"), [(SmokeTest.AUTH, 1), (SmokeTest.ANALYZE, 2)])
async def test_what_a_smoke_test_made_is_removed(
    ethixai: EthixAI, world: RemoteWorld, test: SmokeTest, made: int
) -> None:
    """The backend has answered a DELETE for the user, and one for the data set where there was one."""
    url = world.url("ethixai-backend")
    before = await removed(url)
    await ethixai.run(test, url)
    assert await removed(url) - before == made


async def removed(url: str) -> float:
    """How many removals the one instance there has carried out, by its own count."""
    async with httpx.AsyncClient() as client:
        lines = (await client.get(f"{url}/metrics")).text.splitlines()
    counts = [line for line in lines if 'method="DELETE",status="204"}' in line]
    return sum(float(line.split()[-1]) for line in counts)


async def test_the_frontend_shows_a_page(ethixai: EthixAI, world: RemoteWorld) -> None:
    """HTML, and not an API's answer."""
    assert "page" in await ethixai.run(SmokeTest.PAGE, world.url("ethixai-frontend"))
    with pytest.raises(SmokeFailed, match="not a page"):
        await ethixai.run(SmokeTest.PAGE, world.url("ethixai-backend"))


@pytest.mark.parametrize("test", [SmokeTest.AUTH, SmokeTest.ANALYZE])
async def test_a_canary_that_answers_wrongly_fails(ethixai: EthixAI, backend, test: SmokeTest) -> None:
    """Every smoke test of this revision is answered 500, and the sentence names the request."""
    deployed = await backend.deploy("smoke_fails")
    with pytest.raises(SmokeFailed, match="answered 500"):
        await ethixai.run(test, deployed.tag_urls["canary"])


async def test_a_report_that_never_completes_fails(world: RemoteWorld) -> None:
    """After the looks that the playbook allows."""
    hasty = EthixAI(poll_interval_s=0.01, polls=2)
    with pytest.raises(SmokeFailed, match="is still"):
        await hasty.run(SmokeTest.ANALYZE, world.url("ethixai-backend"))


async def test_a_revision_that_is_not_there_yet_is_asked_again(ethixai: EthixAI) -> None:
    """No answer is no wrong answer."""
    with pytest.raises(Transient):
        await ethixai.run(SmokeTest.HEALTH, "http://127.0.0.1:1")


async def test_probes_are_counted_when_they_are_answered(ethixai: EthixAI, world: RemoteWorld) -> None:
    """A probe that nobody answers is not counted."""
    assert await ethixai.probe(world.url("ethixai-backend"), count=5, seconds=0.1) == 5
    assert await ethixai.probe("http://127.0.0.1:1", count=2, seconds=0.1) == 0


async def test_a_canary_too_slow_for_so_many_probes_is_sent_fewer(ethixai: EthixAI) -> None:
    """No more than so many are under way at once, and it ends soon after the time it was given."""
    under_way = most = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0.5)
                under_way -= 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        answered = await ethixai.probe(f"http://127.0.0.1:{port}", count=5000, seconds=0.5)
        server.close()
    assert most == PROBES_AT_ONCE
    assert PROBES_AT_ONCE <= answered < 5000


async def test_a_service_that_hangs_does_not_stop_the_release_that_mends_it() -> None:
    """Only the front end's refusal says that no request of ours gets through; silence does not."""

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await EthixAI(timeout_s=0.1).unreachable(url) == ""
    assert await EthixAI(timeout_s=0.1).unreachable("http://127.0.0.1:9") == ""


async def test_an_exploit_is_answered_until_the_hole_is_closed(
    ethixai: EthixAI, backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status comes as it is, a refusal too; neither is an error."""
    request = {"path": "/api/debug/users", "headers": {"x-probe": "1"}, "body": "{}"}
    monkeypatch.setenv("EXPLOIT_USERS", json.dumps(request))
    exploit = ExploitCheck(request="env:EXPLOIT_USERS")
    assert await ethixai.ask(exploit, (await backend.now()).uri) == 200
    patched = await backend.deploy("patched")
    assert await ethixai.ask(exploit, patched.tag_urls["canary"]) == 403


async def test_a_hole_that_nobody_answers_for_is_not_closed(ethixai: EthixAI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is asked again: it says nothing of the hole. What was sent is in no text from then on."""
    monkeypatch.setenv("EXPLOIT_USERS", '{"path": "/api/debug/users?all=1"}')
    with pytest.raises(Transient) as away:
        await ethixai.ask(ExploitCheck(request="env:EXPLOIT_USERS"), "http://127.0.0.1:1")
    assert "debug" not in str(away.value)
    assert "debug" not in quoted("no route /api/debug/users?all=1 here")


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("GET /api/debug/users", "JSON is wrong"),
        ('{"path": "api/debug"}', "path is wrong"),
        ('{"path": "/api/debug", "headers": {"Host": "elsewhere"}}', "headers is wrong"),
        ('{"path": "/api/debug", "debugging": 1}', "a field that there is not is wrong"),
        ("{}", "path is wrong"),
        ("[]", "JSON is wrong"),
    ],
)
async def test_an_exploit_that_cannot_be_sent_is_refused_without_a_word_of_it(
    ethixai: EthixAI, monkeypatch: pytest.MonkeyPatch, secret: str, says: str
) -> None:
    """The error is published, and what the secret holds is not."""
    monkeypatch.setenv("EXPLOIT_WRONG", secret)
    with pytest.raises(Refused, match=says) as refused:
        await ethixai.ask(ExploitCheck(request="env:EXPLOIT_WRONG"), "http://127.0.0.1:1")
    assert "debug" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_a_refused_write_proves_that_a_service_is_closed(ethixai: EthixAI, backend) -> None:
    """503 from a maintenance revision, with when to come again; reads are answered."""
    closed = await backend.deploy("read_only")
    assert "503 and Retry-After 120" in await ethixai.refuses_writes(closed.tag_urls["canary"], may_take_none=False)
    assert await ethixai.run(SmokeTest.HEALTH, closed.tag_urls["canary"])


async def test_a_write_that_is_taken_proves_the_opposite(ethixai: EthixAI, world: RemoteWorld) -> None:
    """The user that it made is removed again."""
    with pytest.raises(SmokeFailed, match="users can still write"):
        await ethixai.refuses_writes(world.url("ethixai-backend"), may_take_none=False)


async def test_a_service_without_such_a_write_takes_none(ethixai: EthixAI, world: RemoteWorld) -> None:
    """404 or 405: nobody's write is taken there, as nobody registers at ai-core. It proves nothing of one that has
    accounts."""
    url = world.url("ethixai-frontend")
    seen = await ethixai.refuses_writes(url, may_take_none=True)
    assert re.search("takes no such write: it answered 40[45]", seen)
    with pytest.raises(SmokeFailed, match=r"answered 40[45], not 503"):
        await ethixai.refuses_writes(url, may_take_none=False)
