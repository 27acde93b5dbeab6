"""The stand-in MongoDB under the real driver. With ``MONGODB_URI`` set, the tests without faults run there."""

import os
import secrets
from collections.abc import Iterator

import pytest
from bson import ObjectId
from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DuplicateKeyError,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from rehearsal.world.mongodb import Fault, MongoDB

REAL = os.environ.get("MONGODB_URI", "")


@pytest.fixture(scope="module")
def server() -> Iterator[MongoDB]:
    """One stand-in for all tests here."""
    with MongoDB() as server:
        yield server


def connect(uri: str) -> MongoClient:
    """A client that does not wait long for an unavailable server."""
    return MongoClient(uri, serverSelectionTimeoutMS=1000, retryReads=False)


@pytest.fixture
def database(server: MongoDB) -> Iterator[Database]:
    """A database of this test's own."""
    server.reset()
    with connect(REAL or server.uri) as client:
        name = f"playbook_test_{secrets.token_hex(4)}"
        yield client[name]
        if REAL:
            client.drop_database(name)


@pytest.fixture
def stand_in(server: MongoDB) -> Iterator[Database]:
    """A database of the stand-in, whatever ``MONGODB_URI`` says: a real server does not fail on order."""
    server.reset()
    with connect(server.uri) as client:
        yield client["ethixai"]


def test_documents_come_back_as_they_were_put(database: Database) -> None:
    """Ids, dates, lists and nested documents, in order, a cursor's worth at a time."""
    database.users.insert_many({"_id": ObjectId(), "n": n, "tags": ["a"], "in": {"x": n}} for n in range(250))
    found = list(database.users.find({"n": {"$gte": 10}}, {"_id": 0}).sort("n", -1).batch_size(50))
    assert len(found) == 240
    assert found[0] == {"n": 249, "tags": ["a"], "in": {"x": 249}}


def test_updates_say_what_they_did(database: Database) -> None:
    """One, many, an upsert and a bulk of them."""
    database.users.insert_many({"_id": n, "newField": n} for n in range(6))
    done = database.users.update_many({"_id": {"$gte": 1, "$lte": 3}}, {"$rename": {"newField": "oldField"}})
    assert (done.matched_count, done.modified_count) == (3, 3)
    assert database.users.count_documents({"newField": {"$exists": True}}) == 3
    assert database.users.update_one({"_id": 99}, {"$set": {"a": 1}}, upsert=True).upserted_id == 99
    assert database.users.replace_one({"_id": 99}, {"b": 2}).modified_count == 1
    bulk = database.users.bulk_write([InsertOne({"_id": 100}), UpdateOne({"_id": 1}, {"$set": {"a": 1}})])
    assert (bulk.inserted_count, bulk.modified_count) == (1, 1)
    assert database.users.delete_many({"_id": {"$gte": 99}}).deleted_count == 2


def test_an_id_that_exists_is_refused(database: Database) -> None:
    """By an insert, by a bulk, and by an upsert whose query does not find the document it names."""
    database.walks.insert_one({"_id": "a", "epoch": 5})
    with pytest.raises(DuplicateKeyError):
        database.walks.insert_one({"_id": "a"})
    with pytest.raises(BulkWriteError):
        database.walks.insert_many([{"_id": "b"}, {"_id": "a"}])
    with pytest.raises(DuplicateKeyError):
        database.walks.update_one({"_id": "a", "epoch": {"$lte": 4}}, {"$set": {"epoch": 4}}, upsert=True)
    assert database.walks.find_one({"_id": "a"}) == {"_id": "a", "epoch": 5}


def test_collections_are_listed_and_dropped(database: Database) -> None:
    """Those that hold something."""
    database.users.insert_one({})
    database.scratch.insert_one({})
    database.scratch.drop()
    assert database.list_collection_names() == ["users"]


def test_a_message_larger_than_one_read_is_taken_whole(database: Database) -> None:
    """The socket gives it in pieces."""
    database.files.insert_one({"_id": 1, "text": "x" * 2_000_000})
    assert len(database.files.find_one({"_id": 1})["text"]) == 2_000_000


@pytest.mark.parametrize("command", ["mapReduce", "createIndexes", "saslStart"])
def test_unknown_commands_are_refused(stand_in: Database, command: str) -> None:
    """The error names the command."""
    with pytest.raises(OperationFailure, match=f"not taught: {command}") as raised:
        stand_in.command(command, "users")
    assert raised.value.code == 59


def test_a_connection_breaks_where_a_fault_is_ordered(server: MongoDB, stand_in: Database) -> None:
    """At the second update, before or after it took effect; the third goes through."""
    stand_in.users.insert_many({"_id": n} for n in range(3))
    for applied in (False, True):
        server.order(Fault("update", after=1, applied=applied))
        stand_in.users.update_one({"_id": 0}, {"$set": {"a": applied}})
        with pytest.raises(AutoReconnect):
            stand_in.users.update_one({"_id": 1}, {"$set": {"a": applied}})
        stand_in.users.update_one({"_id": 2}, {"$set": {"a": applied}})
        assert (stand_in.users.find_one({"_id": 1}) == {"_id": 1, "a": True}) is applied


def test_a_stopped_server_comes_back_at_its_address(server: MongoDB, stand_in: Database) -> None:
    """Its documents are still there."""
    stand_in.users.insert_one({"_id": 1})
    server.away()
    with pytest.raises((AutoReconnect, ServerSelectionTimeoutError)):
        stand_in.users.find_one({})
    server.back()
    assert stand_in.users.find_one({}) == {"_id": 1}


def test_a_copy_is_what_a_restore_leaves(server: MongoDB, stand_in: Database) -> None:
    """Later writes are gone, and other collections with them."""
    stand_in.users.insert_one({"_id": 1})
    snapshot = server.copy()
    stand_in.users.update_one({"_id": 1}, {"$set": {"lost": True}})
    stand_in.later.insert_one({"_id": 2})
    server.become(snapshot)
    assert stand_in.users.find_one({}) == {"_id": 1}
    assert stand_in.list_collection_names() == ["users"]
