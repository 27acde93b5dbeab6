"""The real flow of a migration rollback on a real small world and a real MongoDB driver; only Prefect's engine is away.

What tests tell of Prefect itself are the stories'.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from prefect import Task, artifacts, runtime
from prefect.client.schemas.objects import State, StateType
from pydantic import SecretStr
from pymongo import MongoClient
from pymongo.database import Database

from blocks import Environment
from blocks.files import read
from blocks.secret_reference import SecretReference
from playbook.lease.change import Change, Deployment
from playbook.lease.lease import Lease
from playbook.lease.record import Record
from playbook.lease.recovery import Owner
from playbook.migration.plan import MigrationRequest
from playbook.release.outcome import FlowResult
from playbook.release.traffic import TrafficSplit
from rehearsal.database import record_good
from rehearsal.files import secrets, write_environments
from rehearsal.world.remote import RemoteWorld

BACKEND = "ethixai-backend"
OLD_CODE = "v20251030-bbbbbb"
NOVEMBER_6_S = 1762387200.0
"""When the newest release was promoted, in unix seconds; the others a second earlier each."""
REAL = os.environ.get("MONGODB_URI", "")
ASKED = MigrationRequest(reason="reports are empty", requested_by="Ada")


@dataclass
class Answers:
    """What people say to the questions, in turn; silence afterwards."""

    left: list[dict[str, str]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def given(self, form: Any, description: str, within_s: float, silence: dict[str, str]) -> Any:
        """As `tasks.gate.answered`."""
        self.asked.append(description)
        return form(**(self.left.pop(0) if self.left else silence))


@dataclass
class Production:
    """Production, its database, and the person who is asked."""

    env: Environment
    world: RemoteWorld
    database: Database[dict[str, Any]]
    restored: Database[dict[str, Any]]
    answers: Answers = field(default_factory=Answers)
    owner: Owner = Owner.ENDED
    started: list[tuple[str, str]] = field(default_factory=list)

    async def take_back(self, request: MigrationRequest = ASKED) -> FlowResult:
        """How a migration rollback ends; a refusal before anything was touched is raised."""
        from flows.migration_rollback import _migration_rollback

        return await _migration_rollback(request, "production")

    async def seed(self, users: int = 1000, *good: tuple[str, str]) -> None:
        """So many users with the new field; what was released, newest first: (release, revision)."""
        if users:
            self.database.users.insert_many({"_id": n, "newField": f"user {n}"} for n in range(users))
        kept = [
            {"release": release, "revision": revision, "digest": "", "promoted_at_s": NOVEMBER_6_S - at}
            for at, (release, revision) in enumerate(good or ((OLD_CODE, f"{BACKEND}-00041-xyz"),))
        ]
        await record_good(self.world, BACKEND, kept)

    async def deploy(self, revision: str, behaviour: str = "healthy", split: TrafficSplit | None = None) -> None:
        """A revision of the backend runs an image that behaves so; users go as ``split`` says (None: as they do)."""
        repository = f"ghcr.io/geoaziz/{BACKEND}"
        digest = await self.world.publish(repository, revision, {"BEHAVIOUR": behaviour})
        found = await self.env.cloud_run.snapshot(BACKEND)
        base = found.pinned.main
        deployment = Deployment(revision=revision, base=base, image=f"{repository}@{digest}")
        change = Change(record=Record.read(found), split=found.pinned, deployment=deployment)
        found = await self.env.cloud_run.write(found, change)
        if split is not None:
            await self.env.cloud_run.write(found, Change(record=Record.read(found), split=split))

    async def lease(self) -> Lease | None:
        """What the lead carries."""
        return Record.read(await self.env.cloud_run.snapshot(BACKEND)).lease

    async def serves(self) -> dict[str, int]:
        """revision -> percent of the backend."""
        return (await self.world.served())[BACKEND]

    def fields(self) -> tuple[int, int]:
        """How many users have the old and the new field."""
        counts = [self.database.users.count_documents({name: {"$exists": True}}) for name in ("oldField", "newField")]
        return counts[0], counts[1]

    def ledger(self) -> list[str]:
        """The names in it."""
        return sorted(line["fileName"] for line in self.database.changelog.find())


@pytest.fixture(scope="session")
async def whole_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[RemoteWorld, Environment]]:
    """A world of two services, and its production environment."""
    folder = tmp_path_factory.mktemp("world")
    async with RemoteWorld.start(folder / "world", small=True) as world:
        with patch.dict(os.environ, {**world.client_environ, **secrets(world)}):
            path = write_environments(folder, world, "http://127.0.0.1")[1]
            env = await read(path)
            there = {name.rsplit("/", 1)[-1] for name in world.addresses["services"]}
            yield world, env.model_copy(update={"services": [one for one in env.services if one.name in there]})


@pytest.fixture
async def production(whole_world: tuple[RemoteWorld, Environment]) -> AsyncIterator[Production]:
    """Production as it is at the start, with one migration applied."""
    world, env = whole_world
    await world.reset()
    await world.put_secret("ethixai-production", "mongodb-uri", world.mongodb_uri)
    with database_of(world, env) as (database, env), MongoClient(world.restored_uri) as restored:
        made = Production(env, world, database, restored["ethixai"])
        with prefect_away(made):
            yield made


@contextlib.contextmanager
def database_of(world: RemoteWorld, env: Environment) -> Iterator[tuple[Database[dict[str, Any]], Environment]]:
    """The stand-in's database; or its documents in one of their own on the server that ``MONGODB_URI`` names."""
    with MongoClient(world.mongodb_uri) as stand_in:
        if not REAL:
            yield stand_in["ethixai"], env
            return
        name = f"playbook_test_{uuid4().hex[:8]}"
        with MongoClient(REAL) as client:
            for collection in stand_in["ethixai"].list_collection_names():
                if documents := list(stand_in["ethixai"][collection].find()):
                    client[name][collection].insert_many(documents)
            assert env.mongodb is not None
            there = env.mongodb.model_copy(update={"uri": SecretReference.given(SecretStr(REAL)), "database": name})
            try:
                yield client[name], env.model_copy(update={"mongodb": there})
            finally:
                client.drop_database(name)


@contextlib.contextmanager
def prefect_away(production: Production) -> Iterator[None]:
    """Within the block steps are functions, tried as often as their options say."""
    import flows.migration_rollback
    import flows.recovery  # noqa: F401  # so that its names are replaced as well

    async def run(task: Task[..., Any], *args: Any, **kwargs: Any) -> Any:
        for tried in range(1, task.retries + 2):
            try:
                return await task.fn(*args, **kwargs)
            except Exception as error:
                state = State(type=StateType.FAILED, data=error)
                may = await task.retry_condition_fn(task, None, state) if task.retry_condition_fn else False
                if tried > min(task.retries, 3) or not may:
                    raise
            await asyncio.sleep(0.1)
        raise AssertionError("the last try returns or raises")

    async def opened(name: str) -> Environment:
        return production.env

    async def nothing(*_: Any, **__: Any) -> str:
        return ""

    async def owner_of(env: Environment, lease: Lease) -> Owner:
        return production.owner

    async def start(deployment: str, parameters: dict[str, Any], key: str) -> None:
        production.started.append((deployment, key))

    async def none_refused(env: Environment, flow: str) -> dict[str, dict[str, Any]]:
        return {}

    seams = {
        "get_run_logger": lambda: logging.getLogger("steps"),
        "heartbeat": lambda *_: None,
        "heartbeat_ended": lambda *_: None,
        "owner_of": owner_of,
        "start": start,
        "refused_before": none_refused,
        "answered": production.answers.given,
        "is_last_try": lambda _: False,
    }
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.split(".")[0] in ("tasks", "flows"):
                for seam in seams.keys() & vars(module).keys():
                    stack.enter_context(patch.object(module, seam, seams[seam]))
        for name in ("acreate_markdown_artifact", "acreate_progress_artifact", "aupdate_progress_artifact"):
            stack.enter_context(patch.object(artifacts, name, nothing))
        stack.enter_context(patch.object(Task, "__call__", lambda task, *a, **k: run(task, *a, **k)))
        stack.enter_context(patch.object(runtime.flow_run, "get_id", lambda: f"{time.time_ns():032x}"))
        stack.enter_context(patch.object(Environment, "open", opened))
        yield
