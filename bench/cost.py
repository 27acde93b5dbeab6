"""What judging costs: one look at all signals of one service, and folding a whole bake again. `python -m bench.cost`.

CPU time of this thread, the best of several rounds: a busy machine still adds to it, because its caches and cores are
shared. `reference` is a fixed loop, by which two machines can be compared.
Limits: 1 ms a look, 5 ms with 100 instances on each side, 60 ms for 15 minutes at 5 s. No errors.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from bench.simulator import FAMILIES, TICK_S, generate, steady
from bench.traces import observations
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import judge

LOOK_LIMIT_US = {1: 1000.0, 100: 5000.0}
"""Instances on each side -> microseconds."""
REFOLD_LIMIT_MS = 60.0
LOOKS = {1: 181, 100: 20}
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


def of_instances(look: Observation, count: int, apart_s: float = 0.0) -> Observation:
    """The same look at so many instances of each side, each scraped ``apart_s`` before the next one."""

    def many(group: tuple[CounterSeries, ...]) -> tuple[CounterSeries, ...]:
        named = [{**one.labels, "instance": f"i{k}"} for k in range(count) for one in group]
        times = [apart_s * (k + 1 - count) for k in range(count) for _ in group]
        shifted = [
            tuple((at_s + by, value) for at_s, value in one.samples)
            for one, by in zip(group * count, times, strict=True)
        ]
        return tuple(map(CounterSeries, named, shifted))

    def revision(side: RevisionSamples) -> RevisionSamples:
        return RevisionSamples(*map(many, (side.requests, side.latency, side.cpu, side.memory)))

    return Observation(look.now_s, revision(look.canary), revision(look.stable), look.oom_kills)


def look_us(looks: Sequence[Observation]) -> float:
    """Microseconds for one look: observe and judge, on average over the looks after the first two, which learn what the
    series are."""
    evidence = start()
    for look in looks[:2]:
        evidence = evidence.observe(look)
    began = time.thread_time()
    for look in looks[2:]:
        evidence = evidence.observe(look)
        judge(evidence, POLICY)
    return (time.thread_time() - began) / len(looks[2:]) * 1e6


def reference_ms() -> float:
    """Milliseconds for a fixed loop of dictionary look-ups."""
    counts: dict[int, int] = {}
    began = time.thread_time()
    for number in range(100_000):
        counts[number & 1023] = counts.get(number & 511, 0) + number
    return (time.thread_time() - began) * 1e3


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
    family = replace(FAMILIES[0], canary=steady(0.0), stable=steady(0.0))
    traces = generate(family, 200.0, 1, seed=1)
    looks = list(observations(traces.counters[0], traces.gauges[0], TICK_S))
    assert all(a.now_s < b.now_s for a, b in pairwise(looks))
    whole, is_above = merged(looks), False
    for count, apart_s in ((1, 0.0), (100, 0.0), (100, TICK_S / 128)):
        limit = LOOK_LIMIT_US[count]
        fleet = [of_instances(look, count, apart_s) for look in looks[: LOOKS[count]]]
        found = min(look_us(fleet) for _ in range(options.rounds if count == 1 else max(2, options.rounds // 4)))
        when = "each at an instant of its own" if apart_s else "at one instant"
        print(f"a look, {count:3} instances on each side, {when}: {found:8.1f} us (limit {limit:.0f})")
        is_above |= found > limit
    refold = min(refold_ms(whole) for _ in range(options.rounds))
    print(f"15 minutes at 5 s, folded again:   {refold:8.2f} ms (limit {REFOLD_LIMIT_MS:.0f})")
    print(f"reference:                         {min(reference_ms() for _ in range(options.rounds)):8.2f} ms")
    return int(is_above or refold > REFOLD_LIMIT_MS)


if __name__ == "__main__":
    sys.exit(main())
