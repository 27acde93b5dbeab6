"""Whole scenarios with real processes: those that no smaller test can replace. `make scenarios` runs all of them."""

import pytest

from rehearsal.runner import run_scenario
from rehearsal.scenarios import SCENARIOS
from rehearsal.test_environment import TestEnvironment

RUN_HERE = ("healthy", "breach", "killed")


@pytest.mark.parametrize("name", RUN_HERE)
async def test_a_scenario_passes(test_env: TestEnvironment, name: str) -> None:
    """Its outcome, the writes to the world and the messages are as the scenario expects them."""
    result = await run_scenario(test_env, SCENARIOS[name])
    assert result.passed, "\n".join([*result.wrong, *result.logs[-20:]])
