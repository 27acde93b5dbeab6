"""The stage of a rehearsal: world, users and Prefect together, and how a story is told on it."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rehearsal import checks
from rehearsal.files import SECRETS, write_environments
from rehearsal.prefect_api import PrefectApi, Run
from rehearsal.server import Server, prefect_server
from rehearsal.story import PRODUCTION, SERVICES, STAGING, Story, Tale
from rehearsal.world.remote import RemoteWorld
from rehearsal.world.users import Users

Say = Callable[[str], None]
REPOSITORY = "ghcr.io/geoaziz"
HEAD_START_S = 12.0
"""Users come so long before a release is asked for: with its start and staging, more than the 30 s of history that
the policy wants."""


class Stage:
    """Everything a story can touch."""

    def __init__(self, world: RemoteWorld, server: Server, prefect: PrefectApi, users: Users, say: Say) -> None:
        self.world = world
        self.server = server
        self.prefect = prefect
        self.users = users
        self.say = say
        self.events: list[tuple[float, str]] = []
        self._commits = int(time.time())

    def event(self, text: str) -> None:
        """Something that the story did, for its timeline."""
        self.events.append((time.time(), text))
        self.say(f"  {text}")

    def new_version(self) -> str:
        """A version that no story has used."""
        self._commits += 1
        return f"v{time.strftime('%Y%m%d', time.gmtime())}-{self._commits:x}"

    async def publish(self, version: str, story: Story) -> None:
        """CI has built the images of ``version``, which behave as the story says."""
        commit = version.rsplit("-", 1)[-1]
        for service in SERVICES:
            env = {
                "BEHAVIOUR": story.behaviours.get(service, "healthy"),
                "BEHAVIOUR_STAGING": story.staging_behaviours.get(service, "healthy"),
            }
            await self.world.publish(f"{REPOSITORY}/{service}", f"sha-{commit}", env)

    async def publish_ready_made(self) -> tuple[str, str]:
        """A good version and a bad one, for people who try things out in the UI."""
        good, bad = self.new_version(), self.new_version()
        await self.publish(good, Story(name="good", told="", ends="Promoted"))
        await self.publish(
            bad, Story(name="bad", told="", ends="Reverted", behaviours={"ethixai-backend": "errors=0.05"})
        )
        return good, bad

    async def clean(self, users_per_s: float) -> None:
        """The world is as it was at the start, nothing runs, and users have been there long enough to be known."""
        await self.prefect.cancel_all()
        await self.world.reset()
        for project in (PRODUCTION, STAGING):
            for secret in ("mongodb-uri", "jwt-signing-key"):
                await self.world.put_secret(project, secret, "a rehearsal's")
        self.events.clear()
        await self.users.rates({self.world.url(service): users_per_s for service in SERVICES})
        await self.users.reset()
        await asyncio.sleep(HEAD_START_S if users_per_s else 0)

    async def tell(self, story: Story) -> Tale:
        """Tell ``story`` from a clean state and judge how it ended."""
        await self.clean(story.users_per_s)
        version = self.new_version()
        await self.publish(version, story)
        before = await self.world.served()
        await story.given(self)
        began_s = time.time()
        self.say(f"{story.name}: {story.told}")
        request = {"version": version, "changes": f"the story {story.name}", "requested_by": "rehearsal"}
        run = await self.prefect.start("release/production", {"request": request, "environment": "production"})
        self.say(f"  {self.server.ui_url}/runs/flow-run/{run.id}")
        following = asyncio.create_task(self._narrate(run.id))
        try:
            await story.meanwhile(self, run)
            run = await self.prefect.wait(run.id, story.timeout_s)
        finally:
            following.cancel()
        tale = await self._tale(story, run, before)
        checks.common(tale)
        story.then(tale)
        self.say(
            f"  {'as it must be' if tale.passed else 'WRONG: ' + '; '.join(tale.wrong)} ({time.time() - began_s:.1f} s)"
        )
        return tale

    async def _tale(self, story: Story, run: Run, before: dict[str, dict[str, int]]) -> Tale:
        states = {one["service"]: one for one in await self.world.state() if one["project"] == PRODUCTION}
        return Tale(
            story=story,
            run=run,
            steps=await self.prefect.steps(run.id),
            logs=await self.prefect.logs(run.id),
            writes=await self.world.writes(),
            told=await self.world.told(),
            before=before,
            after=await self.world.served(),
            annotations={name: one["annotations"] for name, one in states.items()},
            tags={name: one["tags"] for name, one in states.items()},
            requests=_sums(await self.users.counts()),
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


def _sums(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """What users met: how many requests, how many failed (no answer or 5xx), and who answered."""
    by_revision: dict[str, int] = {}
    total = failed = 0
    for one in counts:
        total += one["count"]
        by_revision[one["revision"]] = by_revision.get(one["revision"], 0) + one["count"]
        if one["status"] == "failed" or str(one["status"]).startswith("5"):
            failed += one["count"]
    return {"total": total, "failed": failed, "by_revision": by_revision}


@asynccontextmanager
async def rehearsal_stage(say: Say = print, *, auth: str = "") -> AsyncIterator[Stage]:
    """A whole rehearsal, ready for its first story. Everything is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        async with RemoteWorld.start(folder / "world") as world:
            environ = {**world.client_environ, **SECRETS}
            async with (
                prefect_server(folder, auth=auth, environ=environ) as server,
                Users.start() as users,
                server.client as http,
            ):
                await server.deploy(*write_environments(folder, world, server.ui_url))
                yield Stage(world, server, PrefectApi(http), users, say)
