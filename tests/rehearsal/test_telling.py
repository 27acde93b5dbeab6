"""What the command line makes of stories that cannot be told to their end: each is a failed one, and the rest is told.

A stage without processes: here only the telling is looked at.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rehearsal import __main__ as command_line
from rehearsal.scenario import Scenario, ScenarioResult

Telling = Callable[[Scenario], Awaitable[ScenarioResult]]


def on_a_stage(monkeypatch: pytest.MonkeyPatch, told: Telling) -> None:
    """The command line finds a stage on which stories are told so."""

    class TestEnvironment:
        """Nothing but `notify`."""

        async def notify(self, scenario: Scenario) -> ScenarioResult:
            return await told(scenario)

    @asynccontextmanager
    async def test_env() -> AsyncIterator[Any]:
        yield TestEnvironment()

    monkeypatch.setattr(command_line, "rehearsal_stage", test_env)


@pytest.mark.parametrize("error", [TimeoutError("it hangs"), RuntimeError("refused"), AssertionError("two winners")])
async def test_a_story_that_breaks_is_a_failed_one_and_the_next_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    """Exit status 1, FILE has an object for each, and the broken one says what came."""

    async def notify(scenario: Scenario) -> ScenarioResult:
        if scenario.name == "healthy":
            raise error
        result = ScenarioResult.untold(scenario, "")
        result.wrong.clear()
        return result

    on_a_stage(monkeypatch, notify)
    status = await asyncio.create_task(command_line.run_scenarios(["healthy", "breach"], tmp_path / "told.json"))
    broken, told = json.loads((tmp_path / "told.json").read_text())
    assert status == 1
    assert (broken["story"], broken["passed"], told["story"], told["passed"]) == ("healthy", False, "breach", True)
    assert str(error) in broken["wrong"][0]


async def test_a_rehearsal_that_is_ended_in_its_first_story_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C before anything was told: exit status 1, and FILE holds a story that did not pass."""
    under_way = asyncio.Event()

    async def notify(scenario: Scenario) -> ScenarioResult:
        under_way.set()
        await asyncio.Event().wait()
        raise AssertionError

    on_a_stage(monkeypatch, notify)
    telling = asyncio.create_task(command_line.run_scenarios(["healthy"], tmp_path / "told.json"))
    await asyncio.wait_for(under_way.wait(), 10)
    telling.cancel()
    assert await telling == 1
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["story"], told["passed"]) == ("healthy", False)
