"""The command line with scenarios that cannot be run: each is a failed result, and the others still run.

The test environment has no processes.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from rehearsal import command_line
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import SCENARIOS


async def no_artifact(key: str) -> str:
    """There is no page of what serves now."""
    raise RuntimeError(f"no artifact {key}")


Runner = Callable[[object, Scenario], Awaitable[ScenarioResult]]


def replace_runner(monkeypatch: pytest.MonkeyPatch, run_scenario: Runner) -> None:
    """The command line runs scenarios with ``run_scenario``, in a test environment without processes."""

    async def pages(run_id: str) -> dict[str, str]:
        return {}

    @asynccontextmanager
    async def running_environment(*, is_scaled: bool) -> AsyncIterator[object]:
        yield SimpleNamespace(prefect=SimpleNamespace(pages=pages, artifact=no_artifact))

    monkeypatch.setattr(command_line, "running_environment", running_environment)
    monkeypatch.setattr(command_line, "run_scenario", run_scenario)


@pytest.mark.parametrize("error", [TimeoutError("it hangs"), RuntimeError("refused"), AssertionError("two winners")])
async def test_a_scenario_that_raises_is_a_failed_result_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1; FILE has an object for each scenario, and the failed one contains the error. It is printed before
    the next one begins, and again in the list at the end."""
    before = ""

    async def run_scenario(test_env: object, scenario: Scenario) -> ScenarioResult:
        nonlocal before
        before = capsys.readouterr().out
        if scenario.name == "healthy":
            raise error
        result = ScenarioResult.not_run(scenario, "")
        result.wrong.clear()
        return result

    replace_runner(monkeypatch, run_scenario)
    status = await asyncio.create_task(command_line.run_scenarios(["healthy", "breach"], tmp_path / "results.json"))
    first, second = json.loads((tmp_path / "results.json").read_text())
    assert status == 1
    assert (first["story"], first["passed"], second["story"], second["passed"]) == ("healthy", False, "breach", True)
    assert str(error) in first["wrong"][0]
    after = capsys.readouterr().out
    assert "FAILED healthy" in before
    assert "FAILED healthy" in after[after.index("All results:") :]


async def test_a_rehearsal_that_is_stopped_writes_a_failed_result(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C during the first scenario: exit status 1, and FILE holds a result that did not pass."""
    started = asyncio.Event()

    async def run_scenario(test_env: object, scenario: Scenario) -> ScenarioResult:
        started.set()
        await asyncio.Event().wait()
        raise AssertionError

    replace_runner(monkeypatch, run_scenario)
    running = asyncio.create_task(command_line.run_scenarios(["healthy"], tmp_path / "results.json"))
    await asyncio.wait_for(started.wait(), 10)
    running.cancel()
    assert await running == 1
    result = json.loads((tmp_path / "results.json").read_text())
    assert (result["story"], result["passed"]) == ("healthy", False)


def test_the_json_has_the_keys_that_scripts_rely_on() -> None:
    """The keys of design.md 7; "seconds" and "requests" have theirs."""
    found = ScenarioResult.not_run(SCENARIOS["healthy"], "not run").json()
    documented = {"story", "passed", "expected", "outcome", "flow_run_id", "traffic", "timeline", "requests", "seconds"}
    assert documented | {"messages"} <= found.keys()
    assert {"total", "failed", "by_revision"} <= found["requests"].keys()
    assert {"onset_to_verdict", "verdict_to_reverted", "total"} <= found["seconds"].keys()


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_every_scenario_is_described_in_one_sentence(scenario: Scenario) -> None:
    """`python -m rehearsal list` prints it."""
    assert scenario.description[0].isupper()
    assert scenario.description.endswith(".")
    assert ". " not in scenario.description


async def test_the_pages_of_a_scenario_are_kept_as_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They show tables and charts in any browser when the world is gone."""
    chart = "![backend](data:image/svg+xml;base64,PHN2Zy8+)"

    async def pages(run_id: str) -> dict[str, str]:
        return {"production-v1": f"| a | b |\n|---|---|\n| 1 | 2 |\n\n{chart}"}

    monkeypatch.setattr(command_line, "PAGES", tmp_path)
    test_env = SimpleNamespace(prefect=SimpleNamespace(pages=pages, artifact=no_artifact))
    (path,) = await command_line.kept(test_env, ScenarioResult.not_run(SCENARIOS["healthy"], ""))  # type: ignore[arg-type]
    text = path.read_text()
    assert path == tmp_path / "healthy" / "production-v1.html"
    assert "<table>" in text
    assert 'src="data:image/svg+xml;base64,' in text
