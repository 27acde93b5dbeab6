"""Where the seconds go: every step has its row, and the rows add up to the whole."""

import ast
import re
from pathlib import Path

import pytest

from playbook.release.request import Measure
from rehearsal.prefect_api import Run, Step
from rehearsal.report import BETWEEN, START, stage_of, stages, stages_table
from rehearsal.scenario import Scenario, ScenarioResult

TASKS = Path(__file__).resolve().parents[2] / "tasks"


def names() -> list[str]:
    """How every task's runs are called, its parameters filled in with a word; a measure with each that there is."""
    found: set[str] = set()
    for path in TASKS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "task_run_name":
                assert isinstance(node.value, ast.Constant)
                for measure in Measure:
                    found.add(re.sub(r"\{[^}]*\}", "x", str(node.value.value).replace("{request.measure}", measure)))
    return sorted(found)


@pytest.mark.parametrize("name", names())
def test_every_task_has_its_row(name: str) -> None:
    """A task that is renamed or new is missed here, and not silently counted as time between steps."""
    assert stage_of(name) != BETWEEN


def test_there_are_tasks_to_look_at() -> None:
    """The test above has something to look at."""
    assert len(names()) > 50


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("start watch/production", "letting go"),
        ("start writes ethixai-backend", "data"),
        ("take over", "claim"),
        ("take 2025-rename.py out of the ledger", "data"),
        ("scale ethixai-backend", "shift"),
        ("note incident", "telling"),
        ("note on lead", "shift"),
        ("something else", BETWEEN),
    ],
)
def test_the_longest_beginning_decides(name: str, row: str) -> None:
    """Names that begin alike do not hide one another."""
    assert stage_of(name) == row


def test_the_rows_add_up() -> None:
    """Steps side by side count once, and what no step covers lies between them."""
    result = ScenarioResult.untold(Scenario("a story", "", "Promoted"), "")
    result.run = Run("id", "run", "Promoted", "COMPLETED", "", 100.0, 102.0, 120.0)
    spans = [
        ("check build a", 102.0, 104.0),
        ("check build b", 103.0, 105.0),
        ("monitor v1", 106.0, 116.0),
        ("report: all is well", 115.0, 117.0),
        ("nobody knows", 117.0, 118.0),
        ("release claim a", 119.0, 121.0),
    ]
    result.steps = [Step(name, "Completed", begin, end) for name, begin, end in spans]
    rows = {name: round(seconds, 6) for name, seconds in stages(result).items() if seconds}
    expected = {START: 2, "checks and build": 3, "bake": 10, "telling": 1, "letting go": 1, BETWEEN: 3}
    assert rows == expected
    assert sum(rows.values()) == 20
    assert "10.0 s of 20.0 s" in stages_table(result)
