"""What judging costs: one tick of all signals of one service, and folding a whole bake again. `python -m bench.cost`.

CPU time of this thread, best of several rounds: a busy machine only ever adds.
Limits: 1 ms a tick, 60 ms for 15 minutes at 5 s.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from bench.simulator import FAMILIES, TICK_S, generate
from bench.traces import observations
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import judge

TICK_LIMIT_US = 1000.0
REFOLD_LIMIT_MS = 60.0
POLICY = Policy()


def start() -> Evidence:
    """Evidence of nothing."""
    return Evidence.start(
        service="backend", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, phi_hat=1.0
    )


def merged(looks: Sequence[Observation]) -> Observation:
    """The whole bake in one observation, as a process that takes over fetches it."""

    def together(groups: Sequence[tuple[CounterSeries, ...]]) -> tuple[CounterSeries, ...]:
        found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
        for one in (series for group in groups for series in group):
            found.setdefault(tuple(one.labels.items()), []).extend(one.samples)
        return tuple(CounterSeries(dict(labels), tuple(samples)) for labels, samples in found.items())

    def revision(sides: Sequence[RevisionSamples]) -> RevisionSamples:
        return RevisionSamples(
            *(together([getattr(side, kind) for side in sides]) for kind in ("requests", "latency", "cpu", "memory"))
        )

    return Observation(
        looks[-1].now_s, revision([o.canary for o in looks]), revision([o.stable for o in looks]), looks[-1].oom_kills
    )


def tick_us(looks: Sequence[Observation]) -> float:
    """Microseconds for one tick: observe and judge, on average over a bake."""
    evidence = start()
    began = time.thread_time()
    for look in looks:
        evidence = evidence.observe(look)
        judge(evidence, POLICY)
    return (time.thread_time() - began) / len(looks) * 1e6


def refold_ms(whole: Observation) -> float:
    """Milliseconds to fold a whole bake and judge it."""
    began = time.thread_time()
    judge(start().observe(whole), POLICY)
    return (time.thread_time() - began) * 1e3


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 when a limit is broken."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args(arguments)
    family = next(f for f in FAMILIES if f.name == "0.05 %")
    traces = generate(family, 200.0, 1, seed=1)
    looks = list(observations(traces.counters[0], traces.gauges[0], TICK_S))
    assert all(a.now_s < b.now_s for a, b in pairwise(looks))
    whole = merged(looks)
    tick = float(np.min([tick_us(looks) for _ in range(options.rounds)]))
    refold = float(np.min([refold_ms(whole) for _ in range(options.rounds)]))
    print(f"one tick, all signals of one service: {tick:6.1f} us (limit {TICK_LIMIT_US:.0f})")
    print(f"15 minutes at 5 s, folded again:      {refold:6.2f} ms (limit {REFOLD_LIMIT_MS:.0f})")
    return int(tick > TICK_LIMIT_US or refold > REFOLD_LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
