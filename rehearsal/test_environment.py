"""The stage of a rehearsal: world, users and Prefect together, and how a story is told on it."""

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rehearsal import checks
from rehearsal.files import secrets, write_environments
from rehearsal.prefect_api import PrefectApi, Run
from rehearsal.scenario import PRODUCTION, SERVICES, SIGKILL, STAGING, Scenario, ScenarioResult
from rehearsal.server import Server, prefect_server
from rehearsal.world.load import FAILED, UNSENT
from rehearsal.world.loopback import reach_directly
from rehearsal.world.remote import RemoteWorld
from rehearsal.world.users import Users

Say = Callable[[str], None]
LOOK_S = 0.3
REPOSITORY = "ghcr.io/geoaziz"
HEAD_START_S = 22.0
"""Users come so long before a release is asked for: with its start and staging, more than the 30 s of history that
the policy wants."""


class TestEnvironment:
    """Everything a story can touch."""

    __test__ = False  # a name that pytest would otherwise collect

    def __init__(self, world: RemoteWorld, server: Server, prefect: PrefectApi, users: Users, say: Say) -> None:
        self.world = world
        self.server = server
        self.prefect = prefect
        self.users = users
        self.say = say
        self.events: list[tuple[float, str]] = []
        self._commits = int(time.time())
        self._policy = ""

    def event(self, text: str) -> None:
        """Something that the story did, for its timeline."""
        self.events.append((time.time(), text))
        self.say(f"  {text}")

    def new_version(self) -> str:
        """A version that no story has used."""
        self._commits += 1
        return f"v{time.strftime('%Y%m%d', time.gmtime())}-{self._commits % 16**7:07x}"

    async def publish(self, version: str, scenario: Scenario) -> None:
        """CI has built the images of ``version``, which behave as the story says."""
        commit = version.rsplit("-", 1)[-1]
        for service in SERVICES:
            env = {
                **self.world.addresses["image_env"],
                "BEHAVIOUR": scenario.behaviours.get(service, "healthy"),
                "BEHAVIOUR_STAGING": scenario.staging_behaviours.get(service, "healthy"),
            }
            await self.world.publish(f"{REPOSITORY}/{service}", f"sha-{commit}", env)

    async def publish_ready_made(self) -> tuple[str, str]:
        """A good version and a bad one, for people who try things out in the UI."""
        good, bad = self.new_version(), self.new_version()
        await self.publish(good, Scenario(name="good", told="", ends="Promoted"))
        await self.publish(
            bad, Scenario(name="bad", told="", ends="Reverted", behaviours={"ethixai-backend": "errors=0.05"})
        )
        return good, bad

    async def policy(self, lines: str) -> None:
        """Production has the rehearsal's policy with these lines of its file changed, until the next `clean`."""
        if lines != self._policy:
            files = write_environments(self.server.folder, self.world, self.server.ui_url, lines)
            await self.server.apply(*files)
            self._policy = lines

    async def clean(self, users_per_s: float, head_start_s: float = HEAD_START_S) -> None:
        """The world is as it was at the start, nothing runs, and users have been there long enough to be known."""
        await self.users.rates({})
        await self.prefect.cancel_all()
        await self.policy("")
        await self.world.reset()
        for project in (PRODUCTION, STAGING):
            for secret in ("mongodb-uri", "jwt-signing-key"):
                await self.world.put_secret(project, secret, "a rehearsal's")
        self.events.clear()
        await self.users.rates({self.world.url(service): users_per_s for service in SERVICES})
        await self.users.reset()
        await asyncio.sleep(head_start_s if users_per_s else 0)

    async def notify(self, scenario: Scenario) -> ScenarioResult:
        """Tell ``scenario`` from a clean state and judge how it ended."""
        await self.clean(scenario.users_per_s)
        version = self.new_version()
        await self.publish(version, scenario)
        before = await self.world.served()
        await scenario.given(self)
        await self.users.reset()  # what they meet from now on is the release's doing
        began_s = time.time()
        self.say(f"{scenario.name}: {scenario.told}")
        run = await self.prefect.start(*scenario.starts(self, version))
        self.say(f"  {self.server.ui_url}/runs/flow-run/{run.id}")
        recovery: Run | None = None
        following = asyncio.create_task(self._narrate(run.id))
        broken: list[str] = []
        try:
            run = await scenario.meanwhile(self, run) or run
            if scenario.recovery_ends:  # the run itself may never be over: its host is gone
                recovery = await self._recovered(began_s, scenario.timeout_s)
                run = await self.prefect.run(run.id)
            else:
                run = await self.prefect.wait(run.id, scenario.timeout_s)
        except (
            TimeoutError,
            RuntimeError,
            AssertionError,
        ) as other:  # it went another way; how far is told all the same
            broken.append(f"{type(other).__name__}: {other}")
            run = await self.prefect.run(run.id)
        finally:
            following.cancel()
        result = await self._tale(scenario, run, recovery, before, began_s)
        result.wrong += broken
        checks.common(result)
        scenario.then(result)
        self.say(
            f"  {'as it must be' if result.passed else 'WRONG: ' + '; '.join(result.wrong)} "
            f"({time.time() - began_s:.1f} s)"
        )
        return result

    @staticmethod
    def request(version: str, changes: str = "") -> dict[str, Any]:
        """The parameters of a release of ``version`` to production."""
        return {
            "request": {"version": version, "changes": changes, "requested_by": "rehearsal"},
            "environment": "production",
        }

    async def _recovered(self, began_s: float, timeout_s: float) -> Run:
        """The recovery run that found something to do since ``began_s``, once it is over. Raises TimeoutError."""
        for _ in range(int(timeout_s)):
            for run in await self.prefect.runs_of("recovery/production"):
                if run.created_at_s >= began_s and run.is_over and run.state not in ("Passed", "Crashed", "Cancelled"):
                    return run
            await asyncio.sleep(1)
        raise TimeoutError(f"no recovery has ended within {timeout_s:.0f} s")

    async def until(self, run: Run, step: str, timeout_s: float = 120) -> None:
        """Return when ``run`` has begun a step whose name begins so. Raises TimeoutError."""
        for _ in range(int(timeout_s / LOOK_S)):
            if any(name.startswith(step) for name in await self.prefect.begun(run.id)):
                return
            await asyncio.sleep(LOOK_S)
        raise TimeoutError(f"{run.name} has not begun {step!r} within {timeout_s:.0f} s")

    async def until_state(self, run: Run, state_type: str, timeout_s: float = 180) -> None:
        """Return when ``run`` is in a state of that type. Raises TimeoutError."""
        for _ in range(int(timeout_s / LOOK_S)):
            if (await self.prefect.run(run.id)).state_type == state_type:
                return
            await asyncio.sleep(LOOK_S)
        raise TimeoutError(f"{run.name} is not {state_type} within {timeout_s:.0f} s")

    def kill(self, run: Run) -> None:
        """SIGKILL the process of a flow run."""
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"PREFECT__FLOW_RUN_ID={run.id}".encode() in path.read_bytes():
                    os.kill(int(path.parent.name), signal.SIGKILL)
        self.event(f"{SIGKILL}the process of {run.name}")

    async def _tale(
        self, scenario: Scenario, run: Run, recovery: Run | None, before: dict[str, dict[str, int]], began_s: float
    ) -> ScenarioResult:
        requests, counted_s = sums(await self.users.counts()), time.time() - began_s
        states = {one["service"]: one for one in await self.world.state() if one["project"] == PRODUCTION}
        return ScenarioResult(
            scenario=scenario,
            run=run,
            recovery=recovery,
            steps=[step for one in (run, recovery) if one for step in await self.prefect.steps(one.id)],
            logs=[line for one in (run, recovery) if one for line in await self.prefect.logs(one.id)],
            writes=await self.world.writes(),
            told=await self.world.told(),
            before=before,
            after=await self.world.served(),
            annotations={name: one["annotations"] for name, one in states.items()},
            tags={name: one["tags"] for name, one in states.items()},
            requests=requests,
            due=scenario.users_per_s * len(SERVICES) * counted_s,
            watches=sum(one.created_at_s >= began_s for one in await self.prefect.runs_of("watch/production")),
            mongodb_uri=self.world.mongodb_uri,
            restored_uri=self.world.restored_uri,
            events=list(self.events),
        )

    async def _narrate(self, run_id: str) -> None:
        """Print each step as it ends."""
        shown: set[tuple[str, float]] = set()
        began_s = time.time()
        while True:
            await asyncio.sleep(1)
            for step in await self.prefect.steps(run_id):
                if (step.name, step.started_at_s) not in shown and not step.name.startswith("report"):
                    shown.add((step.name, step.started_at_s))
                    took_s = step.ended_at_s - step.started_at_s
                    self.say(f"  +{step.ended_at_s - began_s:6.1f} s  {step.name} ({took_s:.1f} s): {step.state}")


def sums(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """What users met: how many requests, how many failed (unsent, no answer, or 5xx), and who answered."""
    by_revision: dict[str, int] = {}
    total = failed = 0
    for one in counts:
        total += one["count"]
        by_revision[one["revision"]] = by_revision.get(one["revision"], 0) + one["count"]
        if one["status"] in (FAILED, UNSENT) or str(one["status"]).startswith("5"):
            failed += one["count"]
    return {"total": total, "failed": failed, "by_revision": by_revision}


@asynccontextmanager
async def rehearsal_stage(say: Say = print, *, auth: str = "") -> AsyncIterator[TestEnvironment]:
    """A whole rehearsal, ready for its first story. Everything is gone when the block ends."""
    reach_directly()
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        async with RemoteWorld.start(folder / "world") as world:
            environ = {**world.client_environ, **secrets(world)}
            async with (
                prefect_server(folder, auth=auth, environ=environ) as server,
                Users.start() as users,
                server.client as http,
            ):
                await server.deploy(*write_environments(folder, world, server.ui_url))
                yield TestEnvironment(world, server, PrefectApi(http), users, say)
