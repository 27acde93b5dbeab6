"""The check of migrations, asked of both ledgers over real sockets: stand-ins of production's and staging's MongoDB."""

import datetime
import inspect
import shutil
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
from blocks.migrations import digest_of, load
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
AT = datetime.datetime(2025, 11, 1, tzinfo=datetime.UTC)


class Ledgers(NamedTuple):
    """Both environments, the servers of their databases, and the folder of the migrations."""

    production: Environment
    staging: Environment
    servers: tuple[Server, Server]
    folder: Path

    def holds(self, where: int, applied: tuple[str, ...], taken_back: tuple[str, ...] = ()) -> None:
        """What the ledger of production (0) or staging (1) says, as migrate-mongo and a rollback have written it."""
        with MongoClient(self.servers[where].uri) as client:
            for name in applied:
                line = {"fileName": f"{name}.js", "appliedAt": AT, "fileHash": digest_of(self.folder / f"{name}.js")}
                client[DATABASE].changelog.insert_one(line)
            for name in taken_back:
                kept = {"_id": name, "digest": digest_of(self.folder / f"{name}.py")}
                client[DATABASE].playbook_taken_back.insert_one(kept)

    async def take_back(self, name: str) -> None:
        """A rollback in staging took it back, and the pipeline applied it again."""
        [module] = [one for one in load(str(self.folder)) if one.name == name]
        assert self.staging.mongodb is not None
        await self.staging.mongodb.forget(name, module.digest)
        self.holds(1, (name,))

    def changed(self, file: str) -> None:
        """One line more in a file of the folder."""
        with (self.folder / file).open("a") as written:
            written.write("\n# and another thing\n")

    def forgets(self, collection: str, field: str) -> None:
        """Staging's database does not have this field: an earlier version, or another setting, wrote it."""
        with MongoClient(self.servers[1].uri) as client:
            client[DATABASE][collection].update_many({}, {"$unset": {field: ""}})

    async def item(self) -> Item:
        """The check, asked once as on its last try."""
        last = patch.dict(runtime.task_run.FIELDS, {"run_count": lambda: 99})
        with disable_run_logger(), last:
            check = inspect.unwrap(check_item)
            found: Item = await check(self.production, Topic.MIGRATIONS, ORDER, staging=self.staging)
        return found


@pytest.fixture
async def ledgers(tmp_path: Path) -> AsyncIterator[Ledgers]:
    """Neither has any migration."""
    shutil.copytree(ROOT / "rehearsal/migrations", tmp_path, dirs_exist_ok=True)
    for name in (RENAME, DROP):
        (tmp_path / f"{name}.js").write_text("module.exports = {}\n")
    with Server() as one, Server() as other:
        blocks = [
            MongoDB(uri=SecretStr(server.uri), database=DATABASE, timeout_s=2, connect_timeout_s=1)
            for server in (one, other)
        ]
        read = [await files.read(ROOT / f"environments/{name}.toml", with_secrets=False) for name in NAMES]
        folder = Migrations(folder=str(tmp_path), services=("ethixai-backend",))
        gates = read[0].gates.model_copy(update={"not_needed": {}})
        both = [
            env.model_copy(update={"mongodb": block, "migrations": folder, "gates": gates})
            for env, block in zip(read, blocks, strict=True)
        ]
        yield Ledgers(both[0], both[1], (one, other), tmp_path)


NAMES = ("production", "staging")
TRIED = "applied and taken back in staging, and unchanged since"
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], Answer, str]] = {
    "production has all of them": ((RENAME, DROP), (), (), Answer.PASS, "none in this version"),
    "staging has not applied it": ((), (), (), Answer.FAIL, f"{RENAME} is not applied in staging"),
    "staging never took it back": ((), (RENAME, DROP), (), Answer.FAIL, f"{RENAME} was never taken back in staging"),
    "applied and taken back": ((), (RENAME, DROP), (RENAME,), Answer.PASS, TRIED),
    "one that cannot be taken back": ((RENAME,), (RENAME, DROP), (), Answer.PASS, TRIED),
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


@pytest.mark.parametrize("file", [f"{RENAME}.py", f"{RENAME}.js", f"{DROP}.js"])
async def test_a_migration_that_was_changed_after_its_trial_fails(ledgers: Ledgers, file: str) -> None:
    """Under the same name: the sentence names the file and what to do, and doing it passes where that is possible."""
    ledgers.holds(1, (RENAME, DROP))
    await ledgers.take_back(RENAME)
    assert (await ledgers.item()).is_met
    ledgers.changed(file)
    item = await ledgers.item()
    assert (item.answer, item.is_open) == (Answer.FAIL, True), str(item)
    assert f"{file} was changed after it was" in item.seen
    if file.startswith(RENAME):
        assert "roll it back there once with migration-rollback/staging, and apply it again" in item.seen
        await ledgers.take_back(RENAME)
        assert (await ledgers.item()).is_met


@pytest.mark.parametrize(
    ("collection", "field", "says"),
    [
        ("playbook_taken_back", "digest", f"{RENAME} was taken back in staging by an earlier version"),
        ("changelog", "fileHash", f"{DROP} cannot be taken back, and it is not known whether it was changed"),
    ],
)
async def test_a_trial_whose_text_was_not_kept_cannot_tell(
    ledgers: Ledgers, collection: str, field: str, says: str
) -> None:
    """A person may look, and override the item with a name and a reason."""
    ledgers.holds(1, (RENAME, DROP), (RENAME,))
    ledgers.forgets(collection, field)
    item = await ledgers.item()
    assert (item.answer, item.is_open) == (Answer.CANNOT_TELL, True), str(item)
    assert says in item.seen


@pytest.mark.parametrize("name", [f"../{DROP}.js", "/etc/passwd", f"{DROP}.js\0"])
async def test_what_a_ledger_calls_a_file_is_no_path(ledgers: Ledgers, name: str) -> None:
    """Nothing outside the folder is read for it."""
    ledgers.holds(0, (RENAME,))
    with MongoClient(ledgers.servers[1].uri) as client:
        client[DATABASE].changelog.insert_one({"fileName": name, "appliedAt": AT, "fileHash": "0" * 64})
    assert not (await ledgers.item()).is_met


@pytest.mark.parametrize("where", [0, 1], ids=NAMES)
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
