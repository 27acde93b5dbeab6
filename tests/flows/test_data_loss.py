"""Case H11: taking data back asks a person, with what is lost; more than one migration needs a second yes."""

from pathlib import Path
from typing import Any

import pytest
from driver import Run, TestEnvironment, play
from migration_rollbacks import MIGRATION_ROLLBACKS, NO, YES, database_of
from wire import Call, Process

from flows.migration_rollback import migration_rollback
from playbook.migration.plan import MigrationRequest

MODULE = """\
from playbook.migration.plan import Batch, Check

FROM_SCHEMA, TO_SCHEMA, REVERSIBLE = {number}, {number} + 1, True
READS = {{"v20251030": (1, 9)}}
HAS = {{"f{number}": {{"$exists": True}}}}


def up():
    yield Batch(collection="users", match={{"f{number}": {{"$exists": False}}}}, change={{"$set": {{"f{number}": 1}}}})


def down():
    yield Batch(collection="users", match=HAS, change={{"$unset": {{"f{number}": ""}}}})


def verify(schema):
    yield Check(collection="users", never={{"x": {{"$exists": True}}}}, says="users with x")
"""
NAMES = [f"2025110{number}-f{number}" for number in (1, 2, 3)]


async def three_that_unset(
    test_env: TestEnvironment, folder: Path, answers: list[dict[str, str]], migration: str, *, keeps: bool = True
) -> Run:
    """Three migrations are applied, each of which added a field; the rollback to one of them, and people's answers."""
    await MIGRATION_ROLLBACKS[0].prepare(test_env)
    for number, name in enumerate(NAMES, 1):
        (folder / f"{name}.py").write_text(MODULE.format(number=number))
    production = test_env.fixture.environments["production"]
    assert production.migrations is not None
    migrations = production.migrations.model_copy(update={"folder": str(folder), "keep_old_values": keeps})
    test_env.fixture.environments["production"] = production.model_copy(update={"migrations": migrations})
    users: list[dict[str, Any]] = [{"_id": n, "f1": 1, "f2": 1} | ({"f3": 1} if n < 2 else {}) for n in range(5)]
    ledger = next(iter(database_of(test_env).documents.changelog.find()))
    lines = [ledger | {"_id": name, "fileName": f"{name}.js"} for name in NAMES]
    database_of(test_env).become({"users": users, "changelog": lines})
    test_env.server.answer, test_env.server.answers = None, answers
    request = MigrationRequest(migration=migration, reason="reports are empty", requested_by="ada")
    return await test_env.follow(migration_rollback, request=request, environment="production")


@pytest.mark.parametrize(
    ("answers", "asked"),
    [([], 1), ([NO], 1), ([YES, NO], 2), ([{**YES, "approver": ""}], 1)],
    ids=["no answer", "no", "a yes and a no", "a yes without a name"],
)
def test_without_both_yeses_nothing_is_touched(answers: list[dict[str, str]], asked: int, tmp_path: Path) -> None:
    """Users can write all the time, and no service is held."""

    async def scenario(test_env: TestEnvironment) -> None:
        run = await three_that_unset(test_env, tmp_path, list(answers), NAMES[0])
        assert (run.end, len(test_env.server.forms)) == ("Refused", asked)
        assert "Nothing was touched" in run.message
        assert test_env.fixture.production.writes == []
        assert not database_of(test_env).changed

    play(scenario)


def test_with_both_yeses_the_fields_go(tmp_path: Path) -> None:
    """The first form names each field with its documents, the second one every migration."""

    async def scenario(test_env: TestEnvironment) -> None:
        run = await three_that_unset(test_env, tmp_path, [YES, YES], NAMES[0])
        assert run.end == "RolledBack", run.message
        first, second = test_env.server.forms
        for name, field, count in zip(NAMES, ("f1", "f2", "f3"), (5, 5, 2), strict=True):
            assert f"{name}: {field} removed in {count} documents of users" in first
            assert name in second
        users = list(database_of(test_env).documents.users.find())
        assert users == [{"_id": n} for n in range(5)]

    play(scenario)


def test_one_migration_needs_one_yes(tmp_path: Path) -> None:
    """The newest alone."""

    async def scenario(test_env: TestEnvironment) -> None:
        run = await three_that_unset(test_env, tmp_path, [YES], NAMES[2])
        assert (run.end, len(test_env.server.forms)) == ("RolledBack", 1), run.message

    play(scenario)


def test_old_values_are_kept_before_they_go(tmp_path: Path) -> None:
    """One copy for each document and step; the form says where, the page and the last message how many. With what is
    kept the documents are as they were."""

    async def scenario(test_env: TestEnvironment) -> None:
        run = await three_that_unset(test_env, tmp_path, [YES, YES], NAMES[0])
        assert run.end == "RolledBack", run.message
        database = database_of(test_env).documents
        kept = list(database.playbook_kept.find())
        assert len(kept) == 5 + 5 + 2
        assert "playbook_kept" in test_env.server.forms[0]
        (name,) = {one["rollback"] for one in kept}
        said = f"old values of 12 documents are kept in playbook_kept, as {name}"
        assert any(said in pages[-1] for pages in test_env.server.artifacts.values())
        assert any(f"Kept: {said}" in message.text for message in test_env.fixture.slack.said)
        for one in kept:
            database[one["collection"]].update_one({"_id": one["document"]}, {"$set": one["values"]})
        users = list(database.users.find())
        assert users == [{"_id": n, "f1": 1, "f2": 1} | ({"f3": 1} if n < 2 else {}) for n in range(5)]

    play(scenario)


def test_where_old_values_are_not_to_be_kept_the_question_says_so(tmp_path: Path) -> None:
    """``keep_old_values = false``: nothing is copied."""

    async def scenario(test_env: TestEnvironment) -> None:
        run = await three_that_unset(test_env, tmp_path, [YES], NAMES[2], keeps=False)
        assert run.end == "RolledBack", run.message
        assert "`keep_old_values` is off" in test_env.server.forms[0]
        assert database_of(test_env).documents.playbook_kept.count_documents({}) == 0

    play(scenario)


def test_what_is_kept_stays_as_it_was_first_copied(tmp_path: Path) -> None:
    """A run that was killed between the copy and the change goes on, and copies once."""

    async def scenario(test_env: TestEnvironment) -> None:
        copies: list[int] = []

        def strike(process: Process, call: Call) -> None:
            if call.method == "update_many" and call.subject == "users" and not copies:
                copies.append(database_of(test_env).documents.playbook_kept.count_documents({}))
                process.die()

        test_env.fixture.wire.faults.append(strike)
        run = await three_that_unset(test_env, tmp_path, [YES], NAMES[2])
        assert (run.end, copies) == ("Killed", [2])
        await test_env.recover()
        documents = database_of(test_env).documents
        assert documents.users.count_documents({"f3": {"$exists": True}}) == 0
        assert [one["values"] for one in documents.playbook_kept.find()] == [{"f3": 1}, {"f3": 1}]

    play(scenario)
