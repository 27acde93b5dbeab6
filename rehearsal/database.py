"""EthixAI's database in a scenario: its content at the start, and what a check reads at the end."""

import datetime
import json
import time

from pymongo import MongoClient

from playbook.lease.record import LAST_GOOD
from playbook.lease.signature import Key, Scope, signed
from rehearsal.files import SECRETS
from rehearsal.test_environment import TestEnvironment
from rehearsal.world.remote import RemoteWorld

BACKEND = "ethixai-backend"
RENAME, DROP = "20251030093000-rename-full-name", "20251113101500-drop-raw-uploads"
RELEASED = "v20251031-0a1b2c"
"""The backend's version when a migration scenario begins: it reads the schemas before and after the rename."""


def renamed(uri: str) -> tuple[int, int]:
    """The number of users with the old field, and the number with the new one."""
    with MongoClient[dict[str, object]](uri) as client:
        users = client["ethixai"].users
        old, new = (users.count_documents({name: {"$exists": True}}) for name in ("oldField", "newField"))
        return old, new


def applied(uri: str) -> list[str]:
    """The names in the migration ledger."""
    with MongoClient[dict[str, object]](uri) as client:
        return sorted(str(line["fileName"]) for line in client["ethixai"].changelog.find())


def rows(uri: str) -> tuple[int, int]:
    """The number of data sets with rows, and the number of data sets."""
    with MongoClient[dict[str, object]](uri) as client:
        sets = client["ethixai"].datasets
        return sets.count_documents({"raw": {"$exists": True}}), sets.count_documents({})


async def with_users(test_env: TestEnvironment, count: int) -> None:
    """Insert ``count`` users with the new field."""
    with MongoClient[dict[str, object]](test_env.world.mongodb_uri) as client:
        client["ethixai"].users.insert_many({"_id": n, "newField": f"user {n}"} for n in range(count))
    await released(test_env, RELEASED)


async def with_rows_dropped(test_env: TestEnvironment) -> None:
    """Twenty data sets lost their rows 30 minutes ago; a backup is older than that, two reports are newer."""
    then_s = time.time() - 1800
    with MongoClient[dict[str, object]](test_env.world.mongodb_uri) as client:
        database = client["ethixai"]
        database.datasets.insert_many({"_id": n, "raw": [[34, "female"], [51, "male"]]} for n in range(20))
        await test_env.world.atlas_snapshot(then_s - 60)
        database.datasets.update_many({}, {"$unset": {"raw": ""}})
        at = datetime.datetime.fromtimestamp(then_s, datetime.UTC)
        database.changelog.insert_one({"fileName": f"{DROP}.js", "appliedAt": at})
        database.reports.insert_many([{}, {}])
    await released(test_env, "v20251113-0a1b2c")


async def without_migrations(test_env: TestEnvironment) -> None:
    """Empty the ledger: the database has schema 1."""
    with MongoClient[dict[str, object]](test_env.world.mongodb_uri) as client:
        client["ethixai"].changelog.delete_many({})


async def released(test_env: TestEnvironment, release: str) -> None:
    """Annotate the backend: what it serves is ``release``."""
    (revision,) = (await test_env.world.served())[BACKEND]
    good = [{"release": release, "revision": revision, "digest": "", "promoted_at_s": time.time()}]
    await record_good(test_env.world, BACKEND, good)


async def record_good(world: RemoteWorld, service: str, goods: list[dict[str, object]]) -> None:
    """Annotate a service of production with its good releases, signed as the engine signs."""
    found = await world.service(service)
    scope = Scope(environment="production", **{part: found[part] for part in ("project", "region", "service", "uid")})
    annotations = signed({LAST_GOOD: json.dumps(goods)}, scope, Key.of(SECRETS["REHEARSAL_SIGNING_KEY"]))
    await world.out_of_band(world.find(service), annotations=annotations)
