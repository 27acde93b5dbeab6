"""MongoDB over a real socket: the stand-in, or the server that ``MONGODB_URI`` names."""

import datetime
import inspect
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator

import bson.errors
import pymongo.errors
import pytest
from bson import ObjectId
from pydantic import SecretStr
from pymongo import MongoClient

from blocks import MongoDB
from blocks.mongodb import hosts_of
from blocks.secret_reference import SecretReference
from playbook.errors import Fenced, Refused, ReleaseError, Transient
from playbook.migration.backfill import Backfill, Range
from playbook.migration.plan import Batch, Check
from rehearsal.world.mongodb import Fault
from rehearsal.world.mongodb import MongoDB as Server

REAL = os.environ.get("MONGODB_URI", "")
NEW, OLD = {"newField": {"$exists": True}}, {"oldField": {"$exists": True}}
DIGEST = "ab" * 32
DOWN = Batch(collection="users", match=NEW, change={"$rename": {"newField": "oldField"}})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One stand-in for this file."""
    with Server() as server:
        yield server


@pytest.fixture
async def database(server: Server) -> AsyncIterator[MongoDB]:
    """The block, on a database of this test's own."""
    server.reset()
    name = f"playbook_test_{secrets.token_hex(4)}"
    block = MongoDB(uri=SecretStr(REAL or server.uri), database=name, timeout_s=5, connect_timeout_s=1)
    yield block
    if REAL:
        with MongoClient(REAL) as client:
            client.drop_database(name)


@pytest.fixture
def plain(server: Server, database: MongoDB) -> Iterator[object]:
    """The same database, through the driver alone."""
    with MongoClient(REAL or server.uri, tz_aware=True) as client:
        yield client[database.database]


async def test_the_ledger_is_migrate_mongos(database: MongoDB, plain) -> None:
    """In order of name, with names without their ending; a line that is forgotten is gone."""
    at = datetime.datetime(2025, 11, 1, tzinfo=datetime.UTC)
    plain.changelog.insert_many([{"fileName": "2-b.js", "appliedAt": at}, {"fileName": "1-a.js", "appliedAt": at}])
    first, second = await database.applied()
    assert (first.name, second.name, first.at_s) == ("1-a", "2-b", at.timestamp())
    await database.forget("2-b", DIGEST)
    await database.forget("2-b", DIGEST)
    assert [line.name for line in await database.applied()] == ["1-a"]
    assert [await database.taken_back_by(name) for name in ("2-b", "1-a")] == [DIGEST, None]


@pytest.mark.parametrize("kept", [{}, {"digest": 7}, {"digest": "abc"}, {"digest": None}], ids=str)
async def test_a_migration_whose_text_was_not_kept_is_known_by_its_name_alone(database: MongoDB, plain, kept) -> None:
    """As earlier versions kept it, or with a digest that is none. Taken back again, its text is kept."""
    plain.playbook_taken_back.insert_one({"_id": "1-a", **kept})
    assert await database.taken_back_by("1-a") == ""
    await database.forget("1-a", DIGEST)
    assert await database.taken_back_by("1-a") == DIGEST


async def test_the_ledger_says_which_file_was_applied_where_migrate_mongo_keeps_it(database: MongoDB, plain) -> None:
    """Its setting useFileHash; anything but a SHA-256 counts as not kept."""
    at = datetime.datetime(2025, 11, 1, tzinfo=datetime.UTC)
    hashes = {"1-a.js": DIGEST.upper(), "2-b.js": "nonsense", "3-c.js": None}
    plain.changelog.insert_many(
        [{"fileName": name, "fileHash": kept, "appliedAt": at} for name, kept in hashes.items()]
    )
    assert [line.file_hash for line in await database.applied()] == [DIGEST, "", ""]


async def test_a_ledger_line_without_a_date_is_refused(database: MongoDB, plain) -> None:
    """The snapshot before it could not be found by time."""
    plain.changelog.insert_one({"fileName": "1-a.js"})
    with pytest.raises(Refused, match="no date in appliedAt"):
        await database.applied()


async def test_a_range_is_changed_once_however_often_it_is_written(database: MongoDB, plain) -> None:
    """What the change made does not match any more."""
    plain.users.insert_many({"_id": n, "newField": f"user {n}"} for n in range(10))
    assert await database.ids(DOWN, None, 4) == [0, 1, 2, 3]
    assert await database.ids(DOWN, 3, 4) == [4, 5, 6, 7]
    within = Range(first=0, last=3)
    assert [await database.change(DOWN, within), await database.change(DOWN, within)] == [4, 0]
    assert [await database.count("users", match) for match in (NEW, OLD, None)] == [6, 4, 10]
    assert plain.users.find_one({"_id": 0}) == {"_id": 0, "oldField": "user 0"}


async def test_a_trial_changes_copies_only(database: MongoDB, plain) -> None:
    """Before and after are told by the names of fields; nothing of it stays."""
    plain.users.insert_many({"_id": n, "newField": "secret"} for n in range(10))
    trial = await database.try_out(DOWN, 4)
    assert (trial.total, trial.matching, trial.tried, trial.changed, trial.still_matching) == (10, 10, 4, 4, 0)
    assert (trial.fields_before, trial.fields_after) == (("_id", "newField"), ("_id", "oldField"))
    assert "secret" not in repr(trial)
    assert await database.count("users", NEW) == 10
    assert plain.list_collection_names() == ["users"]


async def test_a_trial_finds_out_that_a_match_meets_what_the_change_made(database: MongoDB, plain) -> None:
    """Its documents could be changed twice."""
    plain.users.insert_many({"_id": n, "n": 0} for n in range(3))
    twice = Batch(collection="users", match={"n": {"$gte": 0}}, change={"$inc": {"n": 1}})
    trial = await database.try_out(twice, 100)
    assert trial.still_matching == 3
    assert trial.problem(twice)


async def test_a_trial_of_nothing_is_a_trial(database: MongoDB) -> None:
    """An empty collection needs no change."""
    trial = await database.try_out(DOWN, 4)
    assert (trial.matching, trial.problem(DOWN)) == (0, "")


async def test_a_walk_is_kept_under_its_epoch(database: MongoDB) -> None:
    """It comes back as it was, ids of every type included; an older epoch is fenced and changes nothing."""
    assert await database.backfill("m") is None
    backfill = Backfill.begin("m", 7, [10], [10])
    await database.take(backfill)
    backfill = backfill.past(Range(first=0, last=ObjectId()), 4)
    await database.keep(backfill)
    assert await database.backfill("m") == backfill
    older = backfill.model_copy(update={"epoch": 6, "batch": 3})
    for write in (database.take, database.keep):
        with pytest.raises(Fenced, match="epoch 6"):
            await write(older)
    assert await database.backfill("m") == backfill
    await database.take(backfill.model_copy(update={"epoch": 8}))
    with pytest.raises(Fenced):
        await database.keep(backfill)


async def test_a_walk_that_another_run_has_finished_is_not_begun_again(database: MongoDB) -> None:
    """The older run finds nothing to keep it in, and stops."""
    backfill = Backfill.begin("m", 7, [10], [10])
    await database.take(backfill)
    await database.forget("m", DIGEST)
    with pytest.raises(Fenced):
        await database.keep(backfill)
    assert await database.backfill("m") is None


async def test_what_was_written_since_is_counted(database: MongoDB, plain) -> None:
    """New documents by their id, changed ones by ``updatedAt``; our own collections are not users' data."""
    now = time.time()
    ago = datetime.datetime.fromtimestamp(now - 3600, datetime.UTC)
    plain.users.insert_many([{}, {}, {"_id": "old", "updatedAt": ago}, {"_id": ObjectId.from_datetime(ago)}])
    plain.reports.insert_one({"_id": 1, "updatedAt": datetime.datetime.now(datetime.UTC)})
    plain.changelog.insert_one({"fileName": "x"})
    assert await database.written_since(now - 60) == {"reports": 1, "users": 2}


async def test_a_collection_that_cannot_be_counted_does_not_keep_the_others(
    database: MongoDB, plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without an index on ``updatedAt`` may be too large for a call: writes are off, and a person waits.

    Where none can be counted the database is away, and it is asked again.
    """
    plain.users.insert_many([{}, {}])
    plain.reports.insert_one({})
    do, slow = MongoDB._do, "to reports"

    async def busy(self: MongoDB, asked: str, work: object) -> object:
        if slow in asked:
            raise Transient(f"MongoDB, asked {asked}: no answer in time.")
        return await do(self, asked, work)

    monkeypatch.setattr(MongoDB, "_do", busy)
    assert await database.written_since(time.time() - 60) == {"reports": None, "users": 2}
    slow = "what was written"
    with pytest.raises(Transient, match="what was written to users since"):
        await database.written_since(time.time() - 60)


async def test_what_is_broken_is_counted(database: MongoDB, plain) -> None:
    """The documents that a check must not find."""
    plain.users.insert_many([{"newField": 1}, {"oldField": 1}])
    assert await database.broken(Check(collection="users", never=NEW, says="…")) == 1


async def test_a_server_that_is_away_is_asked_again(server: Server, database: MongoDB) -> None:
    """It is transient, whether it hangs up or is not there; and it goes on when it is back."""
    local = database.model_copy(update={"uri": SecretReference.given(SecretStr(server.uri))})
    await local.count("users")
    server.order(Fault("update"))
    with pytest.raises(Transient, match="AutoReconnect"):
        await local.change(DOWN, Range(first=0, last=1))
    server.away()
    with pytest.raises(Transient, match=r"mongodb\.uri"):
        await local.count("users")
    server.back()
    assert await local.count("users") == 0


@pytest.mark.parametrize("uri", ["nonsense://me:hunter2@x", "mongodb://me:hunter2@", "mongodb://me:hun%ter2@x/"])
async def test_a_wrong_uri_is_refused_and_not_repeated(uri: str) -> None:
    """It holds a password: neither the error nor what caused it shows it."""
    with pytest.raises(Refused, match=r"Check mongodb\.uri") as raised:
        await MongoDB(uri=SecretStr(uri), database="x").count("users")
    assert "hun" not in f"{raised.value!r}{raised.value.__cause__!r}"
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("uri", "hosts"),
    [
        ("mongodb://me:hunter2@A.example,b.example:27018/ethixai?w=1", {"a.example:27017", "b.example:27018"}),
        ("mongodb+srv://me:hunter2@cluster.mongodb.net/?retryWrites=true", {"cluster.mongodb.net:27017"}),
        ("mongodb://localhost?directConnection=true", {"localhost:27017"}),
    ],
)
def test_the_hosts_of_a_connection_string(uri: str, hosts: set[str]) -> None:
    """Without credentials, database and options; a port that is not said is the usual one."""
    assert hosts_of(SecretStr(uri)) == hosts


EVERY = [
    error
    for module in (pymongo.errors, bson.errors)
    for _, error in inspect.getmembers(module, inspect.isclass)
    if issubclass(error, (pymongo.errors.PyMongoError, bson.errors.BSONError))
]

ARGUMENTS: dict[type[Exception], tuple[object, ...]] = {
    pymongo.errors.BulkWriteError: ({},),
    pymongo.errors.ClientBulkWriteException: ({}, False),
    pymongo.errors.EncryptedCollectionError: (ValueError("x"), {}),
}
"""What those take that want more than words."""


@pytest.mark.parametrize("error", EVERY, ids=lambda error: error.__name__)
def test_every_error_of_the_driver_is_one_of_ours(error: type[Exception]) -> None:
    """Enumerated from the library, so that a new one is not forgotten."""
    block = MongoDB(uri=SecretStr("mongodb://localhost"), database="x")
    made = error(*ARGUMENTS.get(error, ("x",)))
    assert isinstance(block.translate(made, "something"), ReleaseError)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        pytest.param(pymongo.errors.AutoReconnect("x"), Transient, id="a connection that broke"),
        pytest.param(pymongo.errors.ServerSelectionTimeoutError("x"), Transient, id="no server"),
        pytest.param(pymongo.errors.ExecutionTimeout("x", 50), Transient, id="too slow"),
        pytest.param(pymongo.errors.NotPrimaryError("x"), Transient, id="an election"),
        pytest.param(pymongo.errors.OperationFailure("x", 91), Transient, id="a shutdown"),
        pytest.param(pymongo.errors.OperationFailure("x", 13), Refused, id="not allowed"),
        pytest.param(pymongo.errors.OperationFailure("x", 18), Refused, id="a wrong password"),
        pytest.param(pymongo.errors.DuplicateKeyError("x", 11000), Refused, id="a duplicate"),
        pytest.param(pymongo.errors.OperationFailure("x", 2), Refused, id="a bad value"),
    ],
)
def test_what_an_error_means(error: Exception, kind: type[ReleaseError]) -> None:
    """What passes is asked again; what does not, is a person's."""
    block = MongoDB(uri=SecretStr("mongodb://localhost"), database="x")
    assert type(block.translate(error, "something")) is kind
