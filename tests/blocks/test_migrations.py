"""The migrations folder: what is right becomes a value, and what is wrong is said with the file and what to add."""

from pathlib import Path

import pytest

from blocks.migrations import load
from playbook.errors import BadRequest

ROOT = Path(__file__).resolve().parents[2]
GOOD = """
from playbook.migration.plan import Batch, Check
FROM_SCHEMA, TO_SCHEMA, REVERSIBLE = 1, 2, True
READS = {"v20251030": (1, 2)}
def up():
    yield Batch(collection="users", match={"a": {"$exists": True}}, change={"$rename": {"a": "b"}})
def down():
    yield Batch(collection="users", match={"b": {"$exists": True}}, change={"$rename": {"b": "a"}})
def verify(schema):
    yield Check(collection="users", never={"a" if schema == 2 else "b": {"$exists": True}}, says="the other field")
"""


def test_the_example_folder_is_right() -> None:
    """The playbook's own rename and an irreversible one, chained."""
    rename, drop = load(str(ROOT / "rehearsal" / "migrations"))
    assert (rename.name, rename.from_schema, rename.to_schema, rename.is_reversible) == (
        "20251030093000-rename-full-name",
        1,
        2,
        True,
    )
    assert rename.down[0].change == {"$rename": {"newField": "oldField"}}
    assert rename.checks_before[0].never == {"newField": {"$exists": True}}
    assert (drop.is_reversible, drop.down) == (False, ())
    assert str(drop.reads["v20251113"]) == "schemas 2 to 3"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("import nothing_like_this", "does not import: ModuleNotFoundError", id="does not import"),
        pytest.param("def", "does not import: SyntaxError", id="is no Python"),
        pytest.param("raise SystemError('no')", "does not import: SystemError: no", id="breaks when it is read"),
        pytest.param(GOOD.replace("def down", "def undo"), "has no down; add `def down", id="lacks down"),
        pytest.param(GOOD.replace("def up", "def do"), "has no up; add", id="lacks up"),
        pytest.param(
            GOOD.replace("def verify", "def test"), r"has no verify; add `def verify\(schema\)", id="no verify"
        ),
        pytest.param(
            GOOD.replace("REVERSIBLE", "R"), "has no REVERSIBLE; add", id="does not say whether it can be undone"
        ),
        pytest.param(GOOD.replace("TO_SCHEMA", "T"), "has no TO_SCHEMA; add", id="does not say where it leads"),
        pytest.param(GOOD.replace("= 1, 2", "= '1', 2"), "has no FROM_SCHEMA; add", id="a schema that is no number"),
        pytest.param(GOOD.replace("= 1, 2", "= 2, 2"), "TO_SCHEMA 2 is not above", id="leads nowhere"),
        pytest.param(GOOD.replace("yield Batch", "yield len"), "up failed: TypeError", id="up breaks"),
        pytest.param(GOOD.replace("yield Batch", "yield dict"), "up yields dict; it must yield Batch", id="no batch"),
        pytest.param(GOOD + "def up(): return ()", "up yields nothing", id="a migration that does nothing"),
        pytest.param(GOOD.replace("(1, 2)}", "1}"), "READS must be", id="READS of another shape"),
        pytest.param(GOOD.replace("(1, 2)}", "(2, 1)}"), "from low to high", id="READS from high to low"),
        pytest.param(GOOD.replace("READS = {", "READS = {1,").replace(": (1, 2)", ""), "READS must be", id="a set"),
        pytest.param(
            GOOD.replace('match={"a": {"$exists": True}}', "match={}"), "match is empty", id="matches what it changed"
        ),
    ],
)
def test_a_module_that_is_wrong_is_named_with_what_to_do(tmp_path: Path, text: str, words: str) -> None:
    """Before anything is written anywhere."""
    (tmp_path / "20251001-wrong.py").write_text(text)
    with pytest.raises(BadRequest, match=f"20251001-wrong.*{words}"):
        load(str(tmp_path))


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Two modules, each with its own line."""
    (tmp_path / "1-a.py").write_text("def")
    (tmp_path / "2-b.py").write_text("")
    with pytest.raises(BadRequest) as raised:
        load(str(tmp_path))
    assert {problem.split(":")[0] for problem in raised.value.problems} == {"1-a.py", "2-b.py"}
    assert len(raised.value.problems) == 6


def test_a_migration_that_cannot_be_undone_needs_no_down(tmp_path: Path) -> None:
    """It says so instead."""
    text = GOOD.replace("1, 2, True", "1, 2, False").replace("def down", "def _unused")
    (tmp_path / "1-a.py").write_text(text)
    assert load(str(tmp_path))[0].down == ()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """With the field of the environment file that names it."""
    with pytest.raises(BadRequest, match=r"migrations\.folder.*is no folder here"):
        load(str(tmp_path / "nowhere"))


def test_nothing_is_written_into_the_folder(tmp_path: Path) -> None:
    """It may be read-only, and it is not ours."""
    (tmp_path / "1-a.py").write_text(GOOD)
    load(str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["1-a.py"]
