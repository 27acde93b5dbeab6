"""The phases: every step belongs to one, and their seconds add up to the whole run."""

import ast
import re
from pathlib import Path

import pytest

from playbook.release.request import Measure
from rehearsal.prefect_api import Run, Step
from rehearsal.report import BETWEEN, START, BakePrinter, phase_of, phases, phases_table
from rehearsal.scenario import Scenario, ScenarioResult

TASKS = Path(__file__).resolve().parents[2] / "tasks"


def names() -> list[str]:
    """The names of all steps that a graph shows, with a word in place of each parameter and every measure in place of
    the measure."""
    found: set[str] = set()
    for path in (*TASKS.rglob("*.py"), *TASKS.with_name("flows").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "visible_step":
                title = ast.unparse(node.args[0]).removeprefix("f").strip("'\"")
                found.add(re.sub(r"\{[^}]*\}", "x", title))
            if isinstance(node, ast.keyword) and node.arg == "task_run_name":
                assert isinstance(node.value, ast.Constant)
                if node.value.value == "{title}":  # that of `visible_step`
                    continue
                for measure in Measure:
                    found.add(re.sub(r"\{[^}]*\}", "x", str(node.value.value).replace("{request.measure}", measure)))
    return sorted(found)


@pytest.mark.parametrize("name", names())
def test_every_task_belongs_to_a_phase(name: str) -> None:
    """A new or renamed task fails here; otherwise its time would count as time between steps."""
    assert phase_of(name) != BETWEEN


def test_the_test_above_finds_the_tasks() -> None:
    """The list of names is not empty."""
    assert len(names()) > 40


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("start watch/production", "release the lease"),
        ("start writes ethixai-backend", "database"),
        ("take over", "lease"),
        ("take 2025-rename.py out of the ledger", "database"),
        ("scale ethixai-backend", "shift traffic"),
        ("note incident", "messages"),
        ("save lease", "shift traffic"),
        ("something else", BETWEEN),
    ],
)
def test_the_longest_matching_beginning_decides(name: str, row: str) -> None:
    """A step belongs to the phase with the longest matching beginning."""
    assert phase_of(name) == row


def test_the_seconds_of_the_phases_add_up() -> None:
    """Concurrent steps count once, and time without a step counts as time between steps."""
    result = ScenarioResult.not_run(Scenario("a scenario", "", "Promoted"), "")
    result.run = Run("id", "run", "Promoted", "COMPLETED", "", 100.0, 102.0, 120.0)
    spans = [
        ("check build a", 102.0, 104.0),
        ("check build b", 103.0, 105.0),
        ("monitor v1", 106.0, 116.0),
        ("report: all is well", 115.0, 117.0),
        ("unknown step", 117.0, 118.0),
        ("release lease a", 119.0, 121.0),
    ]
    result.steps = [Step(name, "Completed", begin, end) for name, begin, end in spans]
    rows = {name: round(seconds, 6) for name, seconds in phases(result).items() if seconds}
    expected = {START: 2, "checks and build": 3, "bake": 10, "messages": 1, "release the lease": 1, BETWEEN: 3}
    assert rows == expected
    assert sum(rows.values()) == 20
    assert "10.0 s of 20.0 s" in phases_table(result)


def test_a_bake_is_one_line_now_and_then_where_the_output_is_no_terminal() -> None:
    """The bar, the percentage, and what is seen; the same news is not said twice."""
    said: list[str] = []
    printer = BakePrinter(said.append, is_terminal=False)
    for now_s, bake in ((0, None), (1, (10.0, "81 s left.")), (2, (20.0, "72 s left.")), (12, (50.0, "45 s left."))):
        printer.show(bake, now_s)
    assert [line.split("]")[1].strip() for line in said] == ["10 %  81 s left.", "50 %  45 s left."]
    assert said[1].count("#") == 10
