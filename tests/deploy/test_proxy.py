"""The proxy in front of the Prefect server, with Debian's haproxy: what a person's machine may change, and what not.

The routes are those of the Prefect server that is installed, so a new one of an upgrade joins by itself.
"""

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from prefect.server.api.server import create_api_app

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ENGINE, PERSON = "127.0.0.1", "127.0.0.2"
ID = "11111111-1111-4111-8111-111111111111"
SETTINGS = re.compile(
    "/(v2/)?(flows|deployments|block_documents|block_types|block_schemas|work_pools|work_queues|automations"
    "|concurrency_limits|admin)(/|$)"
)
LOOKS = ("/filter", "/count", "/paginate", "/concurrency_status", "/templates/validate")
PEOPLE_NEED = {
    ("POST", "/deployments/{id}/create_flow_run"),
    ("POST", "/flow_runs/{id}/set_state"),
    ("POST", "/flow_runs/{id}/resume"),
    ("DELETE", "/flow_runs/{id}"),
    ("POST", "/flow_runs/filter"),
    ("POST", "/deployments/filter"),
    ("POST", "/block_documents/filter"),
    ("POST", "/variables/"),
    ("PATCH", "/variables/name/{name}"),
    ("POST", "/ui/flow_runs/history"),
    ("POST", "/ui/schemas/validate"),
}
"""What the UI, CI and the emergency stop ask for."""
MUST_NOT = {
    ("PATCH", "/block_documents/{id}"),
    ("POST", "/block_documents/"),
    ("DELETE", "/block_documents/{id}"),
    ("POST", "/deployments/"),
    ("PATCH", "/deployments/{id}"),
    ("POST", "/deployments/{id}/pause_deployment"),
    ("PATCH", "/work_pools/{name}"),
    ("PATCH", "/work_pools/{work_pool_name}/queues/{name}"),
    ("DELETE", "/flows/{id}"),
    ("PATCH", "/automations/{id}"),
}
"""What would move the engine to other vendors, stop its releases, or silence it."""


def routes() -> Iterator[tuple[str, str]]:
    """Method and path of every request of the Prefect server's API that may change something."""
    for path, methods in create_api_app().openapi()["paths"].items():
        yield from ((method.upper(), path) for method in methods if method not in ("get", "head", "options"))


def may_pass(method: str, path: str) -> bool:
    """Whether the request is a person's: it starts or answers a run, or only looks at settings."""
    is_look = method == "POST" and path.endswith((*LOOKS, "/create_flow_run"))
    return is_look or SETTINGS.match(path) is None


def address(path: str) -> str:
    """The path with an id in place of each parameter."""
    return "/api" + re.sub(r"\{[^}]+\}", ID, path)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[tuple[int, list[str]]]:
    """A stub in the Prefect server's place: its port, and the first line of each request that came through."""
    came: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode("latin-1")
        came.append(line)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as running:
        yield running.sockets[0].getsockname()[1], came


@pytest.fixture(scope="module")
async def proxy(server: tuple[int, list[str]], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """haproxy with the configuration that is shipped, without TLS and with the stub behind it."""
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    assert haproxy, "haproxy is missing; make setup installs it"
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    hosts = folder / "engine-hosts.lst"
    hosts.write_text((DEPLOY / "engine-hosts.lst").read_text() + f"{ENGINE}\n")
    text = (DEPLOY / "haproxy.cfg").read_text()
    for old, new in (
        (r"bind :8443 .*", f"bind 127.0.0.1:{port}"),
        (r"/etc/playbook/engine-hosts\.lst", str(hosts)),
        (r"option httpchk .*|default-server .*|server api-2 .*", ""),
        (r"server api-1 .*", f"server api-1 127.0.0.1:{server[0]}"),
    ):
        text, count = re.subn(old, new, text)
        assert count, f"haproxy.cfg has no {old} any more"
    config = folder / "haproxy.cfg"
    config.write_text(text)
    process = await asyncio.create_subprocess_exec(haproxy, "-db", "-q", "-f", config)
    try:
        async with httpx.AsyncClient(verify=False) as client:
            for _ in range(100):
                try:
                    await client.get(f"http://127.0.0.1:{port}/api/health")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def status(proxy: str, method: str, path: str, source: str) -> int:
    """The answer to one request from ``source``, the path as it is written here."""
    url = httpx.URL(proxy).copy_with(raw_path=path.encode())
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(local_address=source, verify=False)) as client:
        return (await client.request(method, url)).status_code


async def test_a_person_starts_and_answers_runs_and_changes_no_setting(proxy: str) -> None:
    """Every request of the API that may change something, from a machine that is not the engine's."""
    asked = list(routes())
    assert {*PEOPLE_NEED, *MUST_NOT} <= set(asked), "Prefect has other routes now"
    found = {(method, path): await status(proxy, method, address(path), PERSON) for method, path in asked}
    assert set(found.values()) == {200, 403}
    assert {one for one, code in found.items() if code == 200} == {one for one in asked if may_pass(*one)}
    assert {found[one] for one in PEOPLE_NEED} == {200}
    assert {found[one] for one in MUST_NOT} == {403}


async def test_the_engines_machines_change_everything(proxy: str) -> None:
    """`python -m blocks apply`, `python -m blocks deploy`, and the records of the retrospective."""
    assert {await status(proxy, method, address(path), ENGINE) for method, path in routes()} == {200}


async def test_everything_can_be_read(proxy: str) -> None:
    """By every person with the login."""
    paths = ("/api/block_documents/" + ID, "/api/work_pools/playbook", "/api/deployments/" + ID, "/runs", "/")
    assert {await status(proxy, "GET", path, PERSON) for path in paths} == {200}


@pytest.mark.parametrize(
    "path",
    [
        "/api/block_documents",
        "/api/block_documents/" + ID,
        "/api/%62lock_documents/" + ID,
        "/api%2Fblock_documents%2f" + ID,
        "/%61pi/block_documents/",
        "//api//block_documents/" + ID,
        "/api/block_documents/?x=/filter",
        "/api/block_documents/" + ID + "?/create_flow_run",
        "/api/BLOCK_DOCUMENTS/",
        "/api/block_documents/%2e/",
        "/api/deployments/../block_documents/create_flow_run/",
        "/api/work_pools/create_flow_run",
        "/api/deployments/" + ID + "/create_flow_run/../pause_deployment",
        "/api/deployments/" + ID + "%2fpause_deployment",
        "/api/v2/concurrency_limits/" + ID,
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE", "post", "PROPFIND"])
async def test_no_other_spelling_of_a_path_passes(
    proxy: str, server: tuple[int, list[str]], method: str, path: str
) -> None:
    """The server behind decodes the path once, so the proxy looks at the decoded one."""
    before = len(server[1])
    assert await status(proxy, method, path, PERSON) in (400, 403, 405, 501)
    assert server[1][before:] == []


async def test_only_a_post_may_look(proxy: str) -> None:
    """A pool called count is not deleted by its name."""
    assert await status(proxy, "POST", "/api/work_pools/count", PERSON) == 200
    assert await status(proxy, "DELETE", "/api/work_pools/count", PERSON) == 403
    assert await status(proxy, "PATCH", f"/api/deployments/{ID}/create_flow_run", PERSON) == 403
