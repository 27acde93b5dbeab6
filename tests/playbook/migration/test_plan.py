"""Taking migrations back: what is undone, in which order, and which code can read what is left."""

import pytest
from pydantic import ValidationError

from playbook.errors import BadRequest, Refused
from playbook.migration.plan import (
    Applied,
    Batch,
    Migration,
    SchemaRange,
    Way,
    chain_problems,
    code_problem,
    plain_name,
    plan_rollback,
    readable,
    schema_of,
)


def migration(name: str, from_schema: int, *, is_reversible: bool = True, **reads: tuple[int, int]) -> Migration:
    """A migration of one step that leads one schema further."""
    batch = Batch(collection="users", match={"a": {"$exists": True}}, change={"$rename": {"a": "b"}})
    return Migration(
        name=name,
        from_schema=from_schema,
        to_schema=from_schema + 1,
        is_reversible=is_reversible,
        up=(batch,),
        down=(batch,),
        reads={release: SchemaRange(low=low, high=high) for release, (low, high) in reads.items()},
    )


FIRST = migration("20251001-first", 1, v20251001=(1, 2))
SECOND = migration("20251101-second", 2, v20251101=(2, 3))
THIRD = migration("20251115-third", 3, is_reversible=False)
FOLDER = (FIRST, SECOND, THIRD)


def ledger(*names: str) -> tuple[Applied, ...]:
    """The ledger as migrate-mongo keeps it: one line each, a second apart."""
    return tuple(Applied(file_name=f"{name}.js", at_s=float(at)) for at, name in enumerate(names, 1))


@pytest.mark.parametrize(
    ("applied", "wanted", "undo", "way", "after", "at_s"),
    [
        pytest.param(ledger(FIRST.name), "", (FIRST.name,), Way.DOWN, 1, 1, id="the last one, where none is named"),
        pytest.param(
            ledger(FIRST.name, SECOND.name), SECOND.name, (SECOND.name,), Way.DOWN, 2, 2, id="the one that is named"
        ),
        pytest.param(
            ledger(FIRST.name, SECOND.name),
            FIRST.name,
            (SECOND.name, FIRST.name),
            Way.DOWN,
            1,
            1,
            id="everything after the one that is named goes first, the newest before the others",
        ),
        pytest.param(
            ledger(FIRST.name, SECOND.name),
            f"{SECOND.name}.js",
            (SECOND.name,),
            Way.DOWN,
            2,
            2,
            id="a name with migrate-mongo's ending is the same name",
        ),
        pytest.param(
            ledger(FIRST.name, SECOND.name, THIRD.name),
            "",
            (THIRD.name,),
            Way.RESTORE,
            3,
            3,
            id="an irreversible one is restored",
        ),
        pytest.param(
            ledger(FIRST.name, SECOND.name, THIRD.name),
            SECOND.name,
            (THIRD.name, SECOND.name),
            Way.RESTORE,
            2,
            2,
            id="one irreversible migration among them makes it a restore from before the oldest",
        ),
        pytest.param(
            ledger("20240101-old", FIRST.name),
            "",
            (FIRST.name,),
            Way.DOWN,
            1,
            2,
            id="lines from before the folder was kept are left alone",
        ),
    ],
)
def test_the_plan_of_a_rollback(applied, wanted: str, undo, way: Way, after: int, at_s: float) -> None:
    """Which migrations are undone in which order, how, and which schema is left."""
    plan = plan_rollback(FOLDER, applied, wanted)
    assert (plan.undo, plan.way, plan.schema_after, plan.applied_at_s) == (undo, way, after, at_s)
    assert plan.why == (f"{THIRD.name} cannot be undone" if way is Way.RESTORE else "")


def test_a_migration_without_a_module_is_not_skipped_when_an_older_one_is_taken_back() -> None:
    """It was applied after the one that is asked for; what comes after it can be taken back alone."""
    applied = ledger(FIRST.name, "20251015-removed", SECOND.name)
    assert plan_rollback(FOLDER, applied, SECOND.name).undo == (SECOND.name,)
    with pytest.raises(Refused, match=r"20251015-removed was applied after 20251001-first"):
        plan_rollback(FOLDER, applied, FIRST.name)


@pytest.mark.parametrize(
    ("applied", "wanted", "words"),
    [
        pytest.param((), "", "nothing to take back", id="an empty ledger"),
        pytest.param(ledger(FIRST.name), "nonsense", "there is no 'nonsense'.*20251101-second", id="an unknown name"),
        pytest.param(ledger(FIRST.name), SECOND.name, "not applied; applied are 20251001-first", id="not applied"),
    ],
)
def test_a_wrong_request_is_refused_by_name(applied, wanted: str, words: str) -> None:
    """Before anything is written, and with what there is instead."""
    with pytest.raises(BadRequest, match=words):
        plan_rollback(FOLDER, applied, wanted)


def test_the_schema_is_that_of_the_newest_line() -> None:
    """The database has what the last applied migration led to, or what the first one began with."""
    assert schema_of(FOLDER, ()) == 1
    assert schema_of(FOLDER, ledger("20240101-old")) == 1
    assert schema_of(FOLDER, ledger(FIRST.name, SECOND.name)) == 3


def test_a_newer_line_without_a_module_is_refused() -> None:
    """Nobody knows which code can read what it made."""
    with pytest.raises(Refused, match=r"20251120-unknown.*does not have it"):
        schema_of(FOLDER, ledger(FIRST.name, "20251120-unknown"))


def test_an_empty_folder_is_refused() -> None:
    """It says nothing about the schema, which is not the same as saying that all is well."""
    with pytest.raises(Refused, match="empty"):
        schema_of((), ())


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        pytest.param("v20251001-abcdef", "schemas 1 to 2", id="from its own day on"),
        pytest.param("v20251020-abcdef", "schemas 1 to 2", id="until the next day that is named"),
        pytest.param("v20251231-hotfix1-abcdef", "schemas 2 to 3", id="a hotfix, by its date"),
        pytest.param("v20250101-abcdef", "None", id="older than everything said"),
        pytest.param("a revision", "None", id="no release at all"),
    ],
)
def test_what_a_release_can_read(release: str, expected: str) -> None:
    """The newest day that is not after the release's own."""
    assert str(readable(FOLDER, release)) == expected


def test_a_release_that_is_named_has_its_own_range() -> None:
    """Its name wins over its day."""
    named = migration("20251201-fourth", 4, v20251101=(2, 3))
    special = named.model_copy(update={"reads": {**named.reads, "v20251120-abcdef": SchemaRange(low=1, high=5)}})
    assert str(readable((special,), "v20251120-abcdef")) == "schemas 1 to 5"


def test_code_that_cannot_read_the_schema_is_refused_with_both_named() -> None:
    """So that the reader sees at once which of the two must move."""
    assert code_problem(FOLDER, "v20251101-abcdef", 3) == ""
    assert (
        code_problem(FOLDER, "v20251001-abcdef", 3)
        == "v20251001-abcdef can read schemas 1 to 2; the database has schema 3."
    )


def test_code_of_which_nothing_is_said_is_refused() -> None:
    """Silence is no permission."""
    assert "READS" in code_problem(FOLDER, "v20200101-abcdef", 3)
    assert "no release made" in code_problem(FOLDER, "", 3)


def test_a_chain_with_a_gap_is_found() -> None:
    """Each migration begins where the one before it ended."""
    assert chain_problems(FOLDER) == []
    (problem,) = chain_problems((FIRST, THIRD))
    assert "FROM_SCHEMA is 3, but 20251001-first before it leads to 2" in problem


def test_a_migration_that_leads_nowhere_is_found() -> None:
    """A schema version only grows."""
    backwards = FIRST.model_copy(update={"to_schema": 1})
    assert "is not above" in chain_problems((backwards,))[0]


@pytest.mark.parametrize(
    ("match", "change", "words"),
    [
        pytest.param({}, {"$set": {"a": 1}}, "match is empty", id="a batch that matches everything"),
        pytest.param({"a": 1}, {}, "update operators", id="a batch that changes nothing"),
        pytest.param({"a": 1}, {"b": 1}, "update operators", id="a batch that replaces whole documents"),
    ],
)
def test_a_batch_that_could_change_twice_is_refused(match, change, words: str) -> None:
    """When it is made, before it reaches a database."""
    with pytest.raises(ValidationError, match=words):
        Batch(collection="users", match=match, change=change)


def test_a_range_that_is_none_is_refused() -> None:
    """From high to low nothing can be read."""
    with pytest.raises(ValidationError, match="from low to high"):
        SchemaRange(low=2, high=1)


@pytest.mark.parametrize(
    ("file_name", "name"),
    [("2025-a.js", "2025-a"), ("2025-a.py", "2025-a"), ("2025-a.ts", "2025-a"), ("2025.1-a", "2025.1-a")],
)
def test_a_name_is_matched_without_its_ending(file_name: str, name: str) -> None:
    """The ledger's and the folder's name of one migration are equal."""
    assert plain_name(file_name) == name
