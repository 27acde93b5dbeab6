"""What the judge does to healthy canaries beside promoting them: `python -m bench.holds`.

Of every healthy family at every rate: how many bakes were rolled back, and how many the shipped signals of [[signals]]
hold that errors alone would promote. Each bake is folded at once and judged at its end, which is quick and gives what
looking at every scrape does: what rolls back at any time is latched. Families in which latency plays a part are looked
at scrape by scrape, because more instances may be given in between.

What every team's day has, and the families do not, is added to the others: crawlers and forgotten passwords, whose 4xx
come thirty together on one revision; instances that come and go; scrapes that are not answered.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bench.held_out import HELD_OUT
from bench.judge import SEEDS
from bench.simulator import FAMILIES, RATES, SHARE, TICK_S, TICKS, Family, generate, past
from bench.tables import markdown
from bench.traces import LES, STATUSES, observations, replay
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Dispersion, Sides
from playbook.analysis.signals import DEFAULT_SIGNALS, Signals
from playbook.analysis.verdict import Action, Reason, Verdict, judge

POLICY = Policy(allow_unseen=("cpu", "memory"))
HEALTHY = tuple(family for family in (*FAMILIES, *HELD_OUT) if family.truth == "healthy")
NEEDED = ("2", "5", "+Inf")
"""The buckets that the playbook's table needs."""
BURST_4XX, RATIO_4XX = 30, 0.02
"""Requests of one crawler, on average, and their share of all."""
INSTANCES, LIFE_S, UNANSWERED = 3, 300.0, 0.005
"""Instances at a time, how long each lives on average, and the share of their scrapes that is not answered."""


@dataclass
class Cell:
    """One family at one rate. ``held``: by signals, where errors alone would promote."""

    family: Family
    rate: float
    runs: int = 0
    promoted: int = 0
    rolled_back: int = 0
    worse: int = 0  # held as surely worse than stable
    held: Counter[str] = field(default_factory=Counter)


def measure(family: Family, rate: float, runs: int, seed: int = 0) -> Cell:
    """One cell. ``seed`` is added to the seed of the family's group."""
    traces, cell = generate(family, rate, runs, SEEDS[family.group] + seed), Cell(family, rate, runs)
    rng = np.random.default_rng([SEEDS[family.group] + seed, int(rate * 10)])
    for run in range(runs):
        known = past(traces.history[0][run], traces.history[1][run], Policy())
        counters = traces.counters[run] if family.timed or family.resets else crawled(rng, traces.counters[run], rate)
        verdict = judged(family, counters, traces.gauges[run], known, DEFAULT_SIGNALS, instances(rng))
        cell.promoted += verdict.action is Action.PROMOTE
        if verdict.action is Action.ROLLBACK:
            cell.rolled_back += 1
            print(f"{family.name} at {rate:g}/s, bake {run}: {verdict.reason}: {verdict.explanation}", flush=True)
        cell.worse += verdict.reason is Reason.ERRORS_WORSE
        if verdict.signal and verdict.action is Action.INCONCLUSIVE:
            alone = judged(family, counters, traces.gauges[run], known, ())
            cell.held[verdict.signal] += alone.action is Action.PROMOTE
    return cell


def judged(
    family: Family,
    counters: NDArray[np.int32],
    gauges: NDArray[np.float32],
    known: Dispersion,
    signals: Signals,
    more: Mapping[str, Sides] | None = None,
) -> Verdict:
    """The verdict on a whole bake. ``more``: what signals need beside requests and latency."""
    evidence = Evidence.start(
        service="s",
        canary="new",
        stable=("old",),
        bake_start_s=0.0,
        policy=POLICY,
        dispersion=known,
        signals=signals,
    )
    if family.timed:
        return replay(evidence, observations(counters, gauges, TICK_S), POLICY)[1]
    return judge(evidence.observe(_whole(counters, LES if signals else NEEDED, more or {})), POLICY)


def crawled(rng: np.random.Generator, counters: NDArray[np.int32], rate: float) -> NDArray[np.int32]:
    """The counters with fast 4xx more, which come in bursts, each on one revision."""
    grown = counters.copy()
    for first, share in ((0, SHARE), (12, 1 - SHARE)):
        count = rng.poisson(rate * share * TICK_S * RATIO_4XX / BURST_4XX, TICKS)
        sizes = count + np.where(count > 0, rng.negative_binomial(np.maximum(count, 1), 1 / BURST_4XX), 0)
        columns = grown[1:, [first + 1, *range(first + 3, first + 12)]]
        grown[1:, [first + 1, *range(first + 3, first + 12)]] = columns + (columns >= 0) * sizes.cumsum()[:, None]
    return grown


def instances(rng: np.random.Generator) -> dict[str, Sides]:
    """When each of the canary's instances started, and whether it answered its scrapes."""
    started: list[CounterSeries] = []
    answers: list[CounterSeries] = []
    for place in range(INSTANCES):
        born_s = -rng.exponential(LIFE_S)
        while born_s < TICKS * TICK_S:
            dies_s = born_s + rng.exponential(LIFE_S)
            times = [float(at_s) for at_s in range(0, (TICKS + 1) * TICK_S, TICK_S) if born_s < at_s <= dies_s]
            labels = {"instance": f"{place} from {born_s:.3f}"}
            started.append(CounterSeries(labels, tuple((at_s, born_s) for at_s in times)))
            lives = (rng.random(len(times)) >= UNANSWERED).astype(float).tolist()
            answers.append(CounterSeries(labels, tuple(zip(times, lives, strict=True))))
            born_s = dies_s
    return {"start_time": Sides(_present(started), ()), "up": Sides(_present(answers), ())}


def _whole(counters: NDArray[np.int32], edges: Sequence[str], more: Mapping[str, Sides]) -> Observation:
    """A bake in one observation, with these buckets of its latency."""

    def series(column: int, label: str, value: str) -> CounterSeries:
        counts = enumerate(counters[:, column].tolist())
        return CounterSeries({label: value}, tuple((k * TICK_S, float(count)) for k, count in counts if count >= 0))

    def revision(first: int) -> RevisionSamples:
        return RevisionSamples(
            requests=_present(series(first + k, "status", one) for k, one in enumerate(STATUSES)),
            latency=_present(series(first + 3 + k, "le", one) for k, one in enumerate(LES) if one in edges),
        )

    return Observation((len(counters) - 1) * float(TICK_S), revision(0), revision(12), oom_kills=0, more=more)


def _present(found: Iterable[CounterSeries]) -> tuple[CounterSeries, ...]:
    return tuple(one for one in found if one.samples)


def table(cells: Sequence[Cell]) -> str:
    """By rate: bakes, promoted, rolled back, held by signals that errors alone would promote."""
    rows = []
    for rate in sorted({cell.rate for cell in cells}):
        mine = [cell for cell in cells if cell.rate == rate]
        held = sum((cell.held for cell in mine), Counter[str]())
        told = ", ".join(f"{name} {count}" for name, count in held.items() if count) or "none"
        counts = (sum(getattr(cell, name) for cell in mine) for name in ("runs", "promoted", "rolled_back", "worse"))
        rows.append([f"{rate:g}", *(f"{count:,}" for count in counts), told])
    return markdown(
        ["requests/s", "healthy bakes", "promoted", "rolled back", "held as worse", "held by signals"], rows
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.holds", description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="bakes of each family and rate")
    parser.add_argument("--seed", type=int, default=0, help="added to the seeds of make bench-judge: other bakes")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES)
    options = parser.parse_args(arguments)
    cells = []
    for rate in options.rates:
        for family in HEALTHY:
            cells.append(measure(family, rate, options.runs, options.seed))
            if cells[-1].rolled_back or cells[-1].worse or +cells[-1].held:
                print(f"{family.name} at {rate:g}/s: {cells[-1]}", flush=True)
        print(table(cells), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
