"""The measurement of what is held: one fold of a bake says what looking at every scrape does."""

import pytest

from bench.holds import HEALTHY, POLICY, judged, measure, table
from bench.judge import SEEDS
from bench.simulator import FAMILIES, TICK_S, generate, past
from bench.traces import observations, replay
from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import Policy
from playbook.analysis.signals import DEFAULT_SIGNALS


def test_a_healthy_cell_is_promoted_and_shown() -> None:
    """Nothing is held, and the table counts it."""
    cell = measure(HEALTHY[0], 20.0, 2)
    assert (cell.runs, cell.promoted, cell.rolled_back, +cell.held) == (2, 2, 0, {})
    assert "| 20 | 2 | 2 | 0 | 0 | none |" in table([cell])


@pytest.mark.parametrize("name", ["0.05 % in bursts of 5", "1 %"])
def test_one_fold_ends_as_looking_at_every_scrape(name: str) -> None:
    """The action is the same; a rollback is latched."""
    family = next(one for one in FAMILIES if one.name == name)
    traces = generate(family, 200.0, 1, SEEDS[family.group])
    known = past(traces.history[0][0], traces.history[1][0], Policy())
    at_once = judged(family, traces.counters[0], traces.gauges[0], known, DEFAULT_SIGNALS)
    evidence = Evidence.start(
        service="s", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, dispersion=known
    )
    looked, _ = replay(evidence, observations(traces.counters[0], traces.gauges[0], TICK_S), POLICY)
    assert at_once.action is looked.verdict
