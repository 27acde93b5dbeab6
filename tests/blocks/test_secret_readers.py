"""Secrets that a request names are read through the environment's own Secret Manager, as those of its file are."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from blocks import Environment, EthixAI, files
from playbook.release.request import ExploitCheck
from rehearsal.world.remote import RemoteWorld

PROJECT = "ethixai-production"
PRODUCTION = Path(__file__).resolve().parents[2] / "environments/production.toml"
NAME = f"secret-manager:projects/{PROJECT}/secrets/exploit-"


@pytest.fixture
async def env(world: RemoteWorld, tmp_path: Path) -> Environment:
    """Production as its file describes it, with its Secret Manager at an endpoint of its own."""
    table = f'[secret_manager]\nproject = "{PROJECT}"\n'
    text = PRODUCTION.read_text().replace(table, f'{table}api_endpoint = "{world.grpc_endpoint}"\n')
    path = tmp_path / "production.toml"
    path.write_text(text)
    return await files.read(path, with_secrets=False)


@pytest.fixture
async def asked() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A service that answers 418, its URL, and what it was sent."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 418 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def test_an_exploit_check_is_read_by_the_environments_own_secret_manager(
    world: RemoteWorld, env: Environment, asked: tuple[str, list[bytes]]
) -> None:
    """The request, a header of it, and a header of a service: Google's own endpoint is asked for none of them."""
    request = {"path": "/hole", "headers": {"x-key": NAME + "key"}}
    await world.put_secret(PROJECT, "exploit-hole", json.dumps(request))
    await world.put_secret(PROJECT, "exploit-key", "k-1")
    await world.put_secret(PROJECT, "exploit-front", "f-1")
    url, heads = asked
    assert isinstance(env.ethixai, EthixAI)
    application = env.ethixai.sending({"x-front": NAME + "front"})
    assert await application.ask(ExploitCheck(service="ethixai-backend", request=NAME + "hole"), url) == 418
    lines = heads[-1].split(b"\r\n")
    assert lines[0] == b"GET /hole HTTP/1.1"
    assert {b"x-key: k-1", b"x-front: f-1"} <= set(lines)
