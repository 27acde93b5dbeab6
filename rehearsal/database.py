"""EthixAI's database in a story: what is in it when the story begins, and what is left when it ends."""

import datetime
import json
import time

from pymongo import MongoClient

from rehearsal.test_environment import TestEnvironment

BACKEND = "ethixai-backend"
RENAME, DROP = "20251030093000-rename-full-name", "20251113101500-drop-raw-uploads"
RELEASED = "v20251031-0a1b2c"
"""What the backend serves when such a story begins: code that reads the schemas before and after the rename."""


def renamed(uri: str) -> tuple[int, int]:
    """How many users have the field under its old name, and how many under its new one."""
    with MongoClient[dict[str, object]](uri) as client:
        users = client["ethixai"].users
        old, new = (users.count_documents({name: {"$exists": True}}) for name in ("oldField", "newField"))
        return old, new


def applied(uri: str) -> list[str]:
    """The ledger."""
    with MongoClient[dict[str, object]](uri) as client:
        return sorted(str(line["fileName"]) for line in client["ethixai"].changelog.find())


def rows(uri: str) -> tuple[int, int]:
    """How many data sets have their rows, and how many there are."""
    with MongoClient[dict[str, object]](uri) as client:
        sets = client["ethixai"].datasets
        return sets.count_documents({"raw": {"$exists": True}}), sets.count_documents({})


async def with_users(test_env: TestEnvironment, count: int) -> None:
    """So many users whose field was renamed."""
    with MongoClient[dict[str, object]](test_env.world.mongodb_uri) as client:
        client["ethixai"].users.insert_many({"_id": n, "newField": f"user {n}"} for n in range(count))
    await released(test_env, RELEASED)


async def with_rows_dropped(test_env: TestEnvironment) -> None:
    """Twenty data sets lost their rows half an hour ago; there is a backup from before, and two reports from since."""
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
    """The database is older than every migration: schema 1."""
    with MongoClient[dict[str, object]](test_env.world.mongodb_uri) as client:
        client["ethixai"].changelog.delete_many({})


async def released(test_env: TestEnvironment, release: str) -> None:
    """What the backend serves is written down as this release."""
    (revision,) = (await test_env.world.served())[BACKEND]
    good = [{"release": release, "revision": revision, "digest": "", "promoted_at_s": time.time()}]
    annotations = {"playbook.ethixai.com/last-good": json.dumps(good)}
    await test_env.world.out_of_band(test_env.world.find(BACKEND), annotations=annotations)
