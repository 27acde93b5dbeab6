"""The environment of a rehearsal: stand-in world, load and Prefect server, and what a scenario can do to them."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rehearsal.files import SERVICES as SERVICES
from rehearsal.files import THIRD, secrets, write_environments, write_scaled
from rehearsal.prefect_api import PrefectApi, Run
from rehearsal.scale import scaled_server
from rehearsal.server import Server, prefect_server
from rehearsal.world.load import FAILED, UNSENT
from rehearsal.world.loopback import reach_directly
from rehearsal.world.remote import RemoteWorld
from rehearsal.world.users import Users

Say = Callable[[str], None]
LOOK_S = 0.3
PRODUCTION = "ethixai-production"
STAGING = "ethixai-staging"
SIGKILL = "SIGKILL of "
"""How the event of a kill begins."""
REPOSITORY = "ghcr.io/geoaziz"
HEAD_START_S = 22.0
"""How long users send requests before a release is started. With the time for the start and for staging, the policy
has more than the 30 s of history that it needs."""


class TestEnvironment:
    """Everything that a scenario can look at or change."""

    __test__ = False  # a name that pytest would otherwise collect

    def __init__(
        self,
        world: RemoteWorld,
        server: Server,
        prefect: PrefectApi,
        users: Users,
        say: Say,
        policy: str = "",
        *,
        is_scaled: bool = False,
    ) -> None:
        self.world = world
        self.server = server
        self.prefect = prefect
        self.users = users
        self.say = say
        self.events: list[tuple[float, str]] = []
        self._commits = int(time.time())
        self._policy = {"policy": policy}
        self.services = services_of(world)
        self.projects = tuple(dict.fromkeys(name.split("/")[1] for name in world.addresses["services"]))
        self.loaded = self.projects if is_scaled else (PRODUCTION,)
        """The projects whose services users ask."""
        self._write_files: Callable[..., tuple[Path, ...]] = write_scaled if is_scaled else write_environments
        self.newest_version = ""

    def event(self, text: str) -> None:
        """Add something that the scenario did to its timeline."""
        self.events.append((time.time(), text))
        self.say(f"  {text}")

    def new_version(self) -> str:
        """A version that no scenario has used."""
        self._commits += 1
        self.newest_version = f"v{time.strftime('%Y%m%d', time.gmtime())}-{self._commits % 16**7:07x}"
        return self.newest_version

    async def publish(
        self, version: str, behaviours: Mapping[str, str] | None = None, staging: Mapping[str, str] | None = None
    ) -> None:
        """CI has built the images of ``version``.

        ``behaviours`` says how they behave by service, ``staging`` how they behave in staging; the default is healthy.
        """
        commit = version.rsplit("-", 1)[-1]
        for service in self.services:
            env = {
                **self.world.addresses["image_env"],
                "BEHAVIOUR": (behaviours or {}).get(service, "healthy"),
                "BEHAVIOUR_STAGING": (staging or {}).get(service, "healthy"),
            }
            await self.world.publish(f"{REPOSITORY}/{service}", f"sha-{commit}", env)

    async def policy(self, lines: str = "", **more: str) -> None:
        """Add ``lines`` to the policy in production's environment file until the next `clean`.

        ``more``: as `write_environments` has it, of its ``signals``, ``frontend``, ``gates``, ``notices``, ``ethixai``.
        """
        wanted = {"policy": lines, **more}
        if any(self._policy.get(name, "") != wanted.get(name, "") for name in {*wanted, *self._policy}):
            where = (self.server.folder, self.world, self.server.ui_url)
            files = self._write_files(*where, lines, services=self.services, **more)
            await self.server.apply(*files)
            self._policy = wanted

    async def adopt(self, *arguments: str) -> str:
        """What ``python -m blocks adopt production`` printed, to a person who confirms. Raises RuntimeError."""
        pipe = asyncio.subprocess.PIPE
        command = (sys.executable, "-m", "blocks", "adopt", "production", *arguments)
        process = await asyncio.create_subprocess_exec(
            *command, env=self.server.environ, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate(b"production\n")
        if process.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} ended with {process.returncode}: {said.decode()}")
        return said.decode()

    async def clean(self, users_per_s: float, head_start_s: float = HEAD_START_S, policy: str = "") -> None:
        """The world is in its initial state, no run is under way, and users have sent requests for ``head_start_s``.

        ``policy``: lines that production's policy has besides.
        """
        await self.users.rates({})
        await self.prefect.cancel_all()
        await self.policy(policy)
        await self.world.reset()
        for project in self.projects:
            for secret in ("mongodb-uri", "jwt-signing-key"):
                await self.world.put_secret(project, secret, "initial")
        self.events.clear()
        asked = [self.world.url(service, project) for project in self.loaded for service in self.services]
        await self.users.rates(dict.fromkeys(asked, users_per_s))
        await self.users.reset()
        await asyncio.sleep(head_start_s if users_per_s else 0)

    @staticmethod
    def request(version: str, changes: str = "") -> dict[str, Any]:
        """The parameters of a release of ``version`` to production."""
        return {
            "request": {"version": version, "changes": changes, "requested_by": "rehearsal"},
            "environment": "production",
        }

    async def until(self, run: Run, step: str, timeout_s: float = 120) -> None:
        """Return once ``run`` has started a step whose name starts with ``step``. Raises TimeoutError."""
        for _ in range(int(timeout_s / LOOK_S)):
            if any(name.startswith(step) for name in await self.prefect.begun(run.id)):
                return
            await asyncio.sleep(LOOK_S)
        raise TimeoutError(f"{run.name} did not start the step {step!r} within {timeout_s:.0f} s")

    async def until_state(self, run: Run, state_type: str, timeout_s: float = 180) -> None:
        """Return once ``run`` is in a state of this type. Raises TimeoutError."""
        for _ in range(int(timeout_s / LOOK_S)):
            if (await self.prefect.run(run.id)).state_type == state_type:
                return
            await asyncio.sleep(LOOK_S)
        raise TimeoutError(f"{run.name} did not become {state_type} within {timeout_s:.0f} s")

    def kill(self, run: Run) -> None:
        """Send SIGKILL to the process of a flow run."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"PREFECT__FLOW_RUN_ID={run.id}".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self.event(f"{SIGKILL}the process of {run.name}")


def sums(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """The requests of users: how many, how many failed (not sent, no answer, or 5xx), and how many by revision."""
    by_revision: dict[str, int] = {}
    total = failed = 0
    for one in counts:
        total += one["count"]
        by_revision[one["revision"]] = by_revision.get(one["revision"], 0) + one["count"]
        if one["status"] in (FAILED, UNSENT) or str(one["status"]).startswith("5"):
            failed += one["count"]
    return {"total": total, "failed": failed, "by_revision": by_revision}


def services_of(world: RemoteWorld) -> tuple[str, ...]:
    """The services of production in order of promotion: the known ones first."""
    found = [name.rpartition("/")[2] for name in world.addresses["services"] if f"/{PRODUCTION}/" in name]
    known = [name for name in SERVICES if name in found]
    return (*known, *sorted(set(found) - set(known)))


@asynccontextmanager
async def running_environment(
    say: Say = print,
    *,
    auth: str = "",
    policy: str = "",
    services: int = len(SERVICES),
    is_scaled: bool = False,
    on_several: bool = False,
    notices: str = "",
) -> AsyncIterator[TestEnvironment]:
    """A complete test environment, ready for its first scenario. Everything is stopped when the block ends.

    ``policy``: lines that production's policy begins with. ``services``: how many there are.
    ``is_scaled``: Prefect runs as on several machines, and there are three environments; ``on_several``: with the usual
    two. ``notices``: "yes" where the Prefect server tells people what no worker can (not with ``is_scaled``).
    """
    reach_directly()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        projects = (PRODUCTION, STAGING, *([f"ethixai-{THIRD}"] if is_scaled else []))
        start_server = scaled_server if is_scaled or on_several else prefect_server
        write_files = write_scaled if is_scaled else write_environments
        async with RemoteWorld.start(folder / "world", services=services, projects=projects) as world:
            environ = {**world.client_environ, **secrets(world)}
            async with (
                start_server(folder, auth=auth, environ=environ) as server,
                Users.start() as users,
                server.client as http,
            ):
                told = {"notices": notices} if notices else {}
                files = write_files(folder, world, server.ui_url, policy, services=services_of(world), **told)
                await server.deploy(*files)
                yield TestEnvironment(world, server, PrefectApi(http), users, say, policy, is_scaled=is_scaled)
