"""The check of migrations, asked of both ledgers over real sockets: stand-ins of production's and staging's MongoDB."""

import datetime
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
from prefect import runtime
from prefect.logging import disable_run_logger
from pydantic import SecretStr
from pymongo import MongoClient

from blocks import MongoDB, files
from blocks.environment import Environment
from playbook.checklist.items import Answer, Item, Topic
from playbook.migration.plan import Migrations
from playbook.release.plan import Order
from playbook.release.version import Version
from rehearsal.world.mongodb import Fault
from rehearsal.world.mongodb import MongoDB as Server
from tasks.checklist import check_item

ROOT = Path(__file__).resolve().parents[2]
RENAME, DROP = "20251030093000-rename-full-name", "20251113101500-drop-raw-uploads"
ORDER = Order(version=Version.parse("v20251116-abc123"), images={}, canary_percent=10)
DATABASE = "ethixai"


class Ledgers(NamedTuple):
    """Both environments and the servers of their databases."""

    production: Environment
    staging: Environment
    servers: tuple[Server, Server]

    def holds(self, where: int, applied: tuple[str, ...], taken_back: tuple[str, ...] = ()) -> None:
        """What the ledger of production (0) or staging (1) says, as migrate-mongo and a rollback have written it."""
        with MongoClient(self.servers[where].uri) as client:
            for name in applied:
                line = {"fileName": f"{name}.py", "appliedAt": datetime.datetime(2025, 11, 1, tzinfo=datetime.UTC)}
                client[DATABASE].changelog.insert_one(line)
            for name in taken_back:
                client[DATABASE].playbook_taken_back.insert_one({"_id": name})

    async def item(self) -> Item:
        """The check, asked once as on its last try."""
        last = patch.dict(runtime.task_run.FIELDS, {"run_count": lambda: 99})
        with disable_run_logger(), last:
            check = inspect.unwrap(check_item)
            found: Item = await check(self.production, Topic.MIGRATIONS, ORDER, staging=self.staging)
        return found


@pytest.fixture
async def ledgers() -> AsyncIterator[Ledgers]:
    """Neither has any migration."""
    with Server() as one, Server() as other:
        blocks = [
            MongoDB(uri=SecretStr(server.uri), database=DATABASE, timeout_s=2, connect_timeout_s=1)
            for server in (one, other)
        ]
        read = [await files.read(ROOT / f"environments/{name}.toml", with_secrets=False) for name in NAMES]
        folder = Migrations(folder=str(ROOT / "rehearsal/migrations"), services=("ethixai-backend",))
        gates = read[0].gates.model_copy(update={"not_needed": {}})
        both = [
            env.model_copy(update={"mongodb": block, "migrations": folder, "gates": gates})
            for env, block in zip(read, blocks, strict=True)
        ]
        yield Ledgers(both[0], both[1], (one, other))


NAMES = ("production", "staging")
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Answer, str]] = {
    "production has all of them": ((RENAME, DROP), (), (), Answer.PASS, "none in this version"),
    "staging has not applied it": ((), (), (), Answer.FAIL, f"{RENAME} is not applied in staging"),
    "staging never took it back": ((), (RENAME, DROP), (), Answer.FAIL, f"{RENAME} was never taken back in staging"),
    "applied and taken back": ((), (RENAME, DROP), (RENAME,), Answer.PASS, "applied and taken back in staging"),
    "one that cannot be taken back": ((RENAME,), (RENAME, DROP), (), Answer.PASS, "applied and taken back in staging"),
    "only the other one was taken back": ((), (RENAME, DROP), (DROP,), Answer.FAIL, f"{RENAME} was never taken back"),
}


@pytest.mark.parametrize(("production", "staging", "taken_back", "answer", "says"), CASES.values(), ids=CASES)
async def test_both_ledgers_say_whether_a_migration_was_tested(
    ledgers: Ledgers,
    production: tuple[str, ...],
    staging: tuple[str, ...],
    taken_back: tuple[str, ...],
    answer: Answer,
    says: str,
) -> None:
    """New is what production's ledger does not have. One that can be taken back was taken back in staging once."""
    ledgers.holds(0, production)
    ledgers.holds(1, staging, taken_back)
    item = await ledgers.item()
    assert (item.answer, says in item.seen) == (answer, True), str(item)
    assert item.is_open is (answer is not Answer.PASS)


@pytest.mark.parametrize("where", [0, 1])
async def test_a_ledger_that_cannot_be_read_cannot_tell(ledgers: Ledgers, where: int) -> None:
    """The connection breaks at each try, in production or in staging."""
    ledgers.holds(1, (RENAME, DROP), (RENAME,))
    ledgers.servers[where].order(Fault("find", count=100))
    item = await ledgers.item()
    assert (item.answer, item.is_open) == (Answer.CANNOT_TELL, True), str(item)


async def test_a_database_that_is_gone_cannot_tell(ledgers: Ledgers) -> None:
    """No server listens there."""
    gone = MongoDB(uri=SecretStr("mongodb://127.0.0.1:9/"), database=DATABASE, timeout_s=1, connect_timeout_s=0.5)
    item = await ledgers._replace(production=ledgers.production.model_copy(update={"mongodb": gone})).item()
    assert (item.answer, item.is_open) == (Answer.CANNOT_TELL, True), str(item)


async def test_a_ledger_without_sense_does_not_open_the_gate(ledgers: Ledgers) -> None:
    """Lines without a name are no migrations."""
    with MongoClient(ledgers.servers[1].uri) as client:
        client[DATABASE].changelog.insert_many([{"fileName": 7}, {"appliedAt": "yesterday"}, {"fileName": None}])
    item = await ledgers.item()
    assert not item.is_met, str(item)
