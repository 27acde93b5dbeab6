"""Application instances and vendor stand-ins on free loopback ports."""

import asyncio
import itertools
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rehearsal.world.instances import APP
from rehearsal.world.serving import serve
from rehearsal.world.vendors import Vendors


@dataclass
class App:
    """One running instance and its own client."""

    process: asyncio.subprocess.Process
    http: httpx.AsyncClient
    address: str

    SMOKE: ClassVar[dict[str, str]] = {"x-smoke-test": "1"}

    async def statuses(self, count: int, path: str = "/api/ping", **request: object) -> list[int]:
        """The statuses of ``count`` requests, one after another."""
        return [(await self.http.get(path, **request)).status_code for _ in range(count)]  # type: ignore[arg-type]

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of ``/metrics`` with this name and these labels. Fails where there are none.

        Health checks and scrapes count only where their handler is asked for.
        """
        text = (await self.http.get("/metrics")).text
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        of_users = [s for s in samples if not s.labels.get("handler", "").startswith(("/health", "/metrics"))]
        asked = samples if "handler" in labels else of_users
        found = [s.value for s in asked if s.name == name and labels.items() <= s.labels.items()]
        assert found, f"no sample of {name}{labels}"
        return sum(found)

    async def stop(self) -> None:
        """The process has ended."""
        await self.http.aclose()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


StartApp = Callable[..., Awaitable[App]]
Eventually = Callable[[Callable[[], Awaitable[object]]], Awaitable[None]]


@pytest.fixture
def eventually() -> Eventually:
    """Ask until the answer is true, since another process cannot be awaited. Fails after 20 s."""

    async def ask(question: Callable[[], Awaitable[object]]) -> None:
        async with asyncio.timeout(20):
            for pause_s in itertools.repeat(0.05):
                if await question():
                    return
                await asyncio.sleep(pause_s)

    return ask


@asynccontextmanager
async def apps() -> AsyncIterator[StartApp]:
    """Start an instance on a listening socket that this process holds; ``behaviour`` and environment as given."""
    async with AsyncExitStack() as stack:

        async def start(behaviour: str = "healthy", job: str = "backend", **environ: str) -> App:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(APP),
                env={"JOB": job, "BEHAVIOUR": behaviour, "LISTEN_FD": str(listener.fileno()), **environ},
                pass_fds=[listener.fileno()],
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
            address = "{}:{}".format(*listener.getsockname())
            app = App(process, httpx.AsyncClient(base_url=f"http://{address}", trust_env=False), address)
            stack.push_async_callback(app.stop)
            return app

        yield start


@pytest.fixture
async def start_app() -> AsyncIterator[StartApp]:
    """Instances of this test's own."""
    async with apps() as start:
        yield start


@pytest.fixture(scope="session")
async def backend() -> AsyncIterator[App]:
    """One healthy backend for all tests that leave nothing behind in it."""
    async with apps() as start:
        yield await start()


@dataclass
class StandIns:
    """All vendor stand-ins, and a client with a valid token."""

    vendors: Vendors
    http: httpx.AsyncClient


@pytest.fixture(scope="session")
async def served_stand_ins() -> AsyncIterator[StandIns]:
    """The vendor stand-ins, served once for all tests."""
    vendors = Vendors()
    headers = {"Authorization": "Bearer good"}
    async with (
        serve(vendors.app) as served,
        httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False) as http,
    ):
        yield StandIns(vendors, http)


@pytest.fixture
def stand_ins(served_stand_ins: StandIns) -> StandIns:
    """Vendor stand-ins in their initial state."""
    served_stand_ins.vendors.reset()
    return served_stand_ins


@pytest.fixture
def closed_port() -> int:
    """A loopback port without a listener."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
