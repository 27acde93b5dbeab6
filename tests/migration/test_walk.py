"""The walk of a migration's batches over documents that are kept in memory: no world, no engine."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import mongomock
import pytest
from pydantic import SecretStr

import tasks.migration.backfill as steps
from blocks.mongodb import MongoDB
from playbook.errors import Refused
from playbook.migration.backfill import Backfill
from playbook.migration.plan import Batch, Migration

SIZE = 50
DOWN = Batch(collection="users", match={"b": {"$exists": True}}, change={"$rename": {"b": "a"}})


class Walker:
    """A migration's ``down``, taken through the documents of ``users``; ``writes`` is how many ranges were written."""

    def __init__(self, *down: Batch) -> None:
        self.documents: Any = mongomock.MongoClient()["x"]
        self.migration = Migration(name="m", from_schema=1, to_schema=2, is_reversible=True, up=down, down=down)
        self.database = MongoDB(uri=SecretStr("mongodb://nowhere"), database="x")
        self.env: Any = SimpleNamespace(
            mongodb=self.database, migrations=SimpleNamespace(batch=SIZE, keep_old_values=True), name="production"
        )
        self.writes = 0

    async def undo(self, epoch: int = 1) -> Backfill:
        """Every batch, under the claim of ``epoch``."""
        return await steps.undo.fn(self.env, _claim(epoch), "m")

    async def verify(self, backfill: Backfill, seen: str = "") -> str:
        """What is wrong after it; a person has read ``seen`` and started it again."""
        return await steps.verify.fn(self.env, _claim(seen=seen), "m", backfill)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Prefect and the server are away within the block."""

        async def work(_: MongoDB, asked: str, done: Callable[[Any], Any]) -> Any:
            self.writes += asked.startswith("to change")
            return await asyncio.to_thread(done, self.documents)

        async def nothing(*_: object, **__: object) -> None:
            """Nothing is shown, and nobody opens a service."""

        with (
            patch.object(MongoDB, "_do", work),
            patch.object(steps, "_migration", lambda env, name: self.migration),
            patch.object(steps.artifacts, "acreate_progress_artifact", nothing),
            patch.object(steps.artifacts, "aupdate_progress_artifact", nothing),
            patch.object(steps, "check_closed", nothing),
            patch.object(steps, "get_run_logger", lambda: logging.getLogger("walk")),
        ):
            yield


def _claim(epoch: int = 1, seen: str = "") -> Any:
    plan = {"undo": ["m"], "way": "down", "schema_now": 2, "schema_after": 1, "applied_at_s": 0}
    return SimpleNamespace(
        release_id="migration-m-1",
        epoch=epoch,
        details={"request": {}, "plan": plan, "environment": "test", "seen": seen},
    )


async def test_a_change_that_goes_on_matching_is_made_once_and_never_again() -> None:
    """The first hundred documents, which a dry run tries, do not show it: found out after the first range that has
    one, and a second start changes nothing.
    """
    walker = Walker(
        Batch(
            collection="users",
            match={"$or": [{"done": {"$exists": False}}, {"legacy": True}]},
            change={"$set": {"done": True}, "$inc": {"cents": 100}},
        )
    )
    walker.documents.users.insert_many({"_id": n, "cents": 1} for n in range(150))
    walker.documents.users.insert_many({"_id": n, "cents": 1, "legacy": True} for n in range(150, 160))
    with walker.away():
        with pytest.raises(Refused, match="10 documents of users from 150 to 159 still match after the change"):
            await walker.undo()
        with pytest.raises(Refused, match="documents could be changed twice"):
            await walker.undo(epoch=2)
    assert max(one["cents"] for one in walker.documents.users.find()) == 101
    assert walker.writes == 4


CHAINED = (
    Batch(collection="users", match={"new": {"$exists": True}}, change={"$rename": {"new": "mid"}}),
    Batch(collection="users", match={"mid": {"$exists": True}}, change={"$rename": {"mid": "new", "n": "m"}}),
)
"""The second takes up what the first has made, and makes what the first would take up again."""


async def test_batches_may_take_up_what_the_one_before_has_made() -> None:
    """Each is counted, and tried on copies, when the walk reaches it."""
    walker = Walker(*CHAINED)
    walker.documents.users.insert_many({"_id": n, "new": "a", "n": n} for n in range(70))
    with walker.away():
        backfill = await walker.undo()
        assert (backfill.matching, backfill.changed) == ((70, 70), (70, 70))
        assert await walker.verify(backfill) == ""
    assert walker.documents.users.find_one({"_id": 69}) == {"_id": 69, "new": "a", "m": 69}


async def test_a_batch_is_tried_when_it_is_reached() -> None:
    """The dry run had nothing that it could be tried on; not one document is changed by it."""
    twice = Batch(collection="users", match={"mid": {"$exists": True}}, change={"$inc": {"n": 1}})
    walker = Walker(CHAINED[0], twice)
    walker.documents.users.insert_many({"_id": n, "new": "a", "n": 0} for n in range(10))
    with walker.away():
        await steps.dry_run.fn(walker.env, "m")
        with pytest.raises(Refused, match="10 of 10 copies still match"):
            await walker.undo()
    assert walker.documents.users.count_documents({"n": {"$ne": 0}}) == 0


async def test_counts_that_differ_alone_are_a_persons_to_look_at() -> None:
    """A request under way has made a user: every document is right, so no backup is asked for. Who has read so and
    starts it again goes on, though the count has moved on since; of anything else they must read first.
    """
    walker = Walker(DOWN)
    walker.documents.users.insert_many({"_id": n, "b": "x"} for n in range(10))
    with walker.away():
        backfill = await walker.undo()
        walker.documents.users.insert_one({"_id": 10, "a": "x"})
        with pytest.raises(Refused, match="users had 10 documents and has 11") as stopped:
            await walker.verify(backfill)
        assert await walker.verify(backfill, seen=str(stopped.value)) == ""
        walker.documents.users.insert_one({"_id": 11, "a": "x"})
        assert await walker.verify(backfill, seen=str(stopped.value)) == ""
        with pytest.raises(Refused, match="has 12"):
            await walker.verify(backfill, seen="m: reports had 10 documents and has 11")


async def test_a_document_that_is_wrong_is_no_matter_of_counts() -> None:
    """Where one is left to be changed, or a check fails, the caller is told, with the counts beside it."""
    walker = Walker(DOWN)
    walker.documents.users.insert_many({"_id": n, "b": "x"} for n in range(10))
    with walker.away():
        backfill = await walker.undo()
        walker.documents.users.insert_one({"_id": 10, "b": "x"})
        assert await walker.verify(backfill) == "m: users had 10 documents and has 11; users: 1 still match"


async def test_one_more_document_that_was_changed_with_the_others_is_a_count() -> None:
    """It was made before the walk came to it."""
    walker = Walker(DOWN)
    walker.documents.users.insert_many({"_id": n, "b": "x"} for n in range(SIZE + 1))

    async def made(*_: object) -> None:
        if not walker.documents.users.find_one({"_id": 99}):
            walker.documents.users.insert_one({"_id": 99, "b": "x"})

    with walker.away():
        with patch.object(steps, "check_closed", made), patch.object(steps, "SHOWN_EVERY", 1):
            backfill = await walker.undo()
        with pytest.raises(Refused, match="users: 52 of 51 were changed"):
            await walker.verify(backfill)
