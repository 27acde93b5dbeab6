"""Case H11: taking data back asks a person, with what is lost; more than one migration needs a second yes."""

from pathlib import Path
from typing import Any

import pytest
from driver import Run, TestEnvironment, play
from migration_rollbacks import MIGRATION_ROLLBACKS, NO, YES, database_of

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
    test_env: TestEnvironment, folder: Path, answers: list[dict[str, str]], migration: str
) -> Run:
    """Three migrations are applied, each of which added a field; the rollback to one of them, and people's answers."""
    await MIGRATION_ROLLBACKS[0].prepare(test_env)
    for number, name in enumerate(NAMES, 1):
        (folder / f"{name}.py").write_text(MODULE.format(number=number))
    production = test_env.fixture.environments["production"]
    assert production.migrations is not None
    migrations = production.migrations.model_copy(update={"folder": str(folder)})
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
