"""How far the judge is from what is possible, and what it does to canaries that are not bad: `python -m bench.limit`.

An oracle knows the traffic, the healthy ratio and the fault's ratio, and only has to notice that the fault has begun.
Page's CUSUM on the counts is the best that it can do (Lorden, Moustakides). Two oracles and the judge see the same
simulated bakes:

- the *healthy oracle* compares the fault with 0.01 %; 0.3 % of healthy bakes alarm it;
- the *band oracle* compares it with 0.25 %; it may roll back 0.3 % of the canaries at 0.1 %, and 5 % of those at 0.3 %.
  That is the fair limit: canaries between 0.1 and 0.5 % are a person's to decide. Where the dispersion of errors is
  unknown, this must hold for errors in bursts of 20, too.

`--families` adds the canaries that are not bad. `--tree PATH` measures the judge of another commit (`git worktree add
PATH COMMIT`) on the same bakes in the same run, and prints *before / now*.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.families import count, tables
from bench.mixed import mixed_table
from bench.simulator import SHARE, Floats, Ints
from bench.tables import markdown
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.samples import dispersion
from playbook.analysis.verdict import Action, judge

RATES = (2.0, 20.0, 200.0, 2000.0)
FAULTS = (0.01, 0.02, 0.05, 0.3)
HEALTHY, MIDDLE = 1e-4, 2.5e-3
BAKE_S = 900.0
SEED = 20261126
NULL_BAKES = 8_000
"""Bakes without a fault that an oracle's threshold rests on."""


@dataclass(frozen=True)
class Setup:
    """How the bakes of one table are seen."""

    name: str
    scrape_s: float = 5.0
    instances: int = 1
    onset_s: tuple[float, float] = (0.0, 300.0)
    known: bool = True  # an hour of stable's past

    @property
    def ticks(self) -> int:
        """Scrapes of a bake."""
        return int(BAKE_S / self.scrape_s)


SETUPS = (
    Setup("onset in the first 5 minutes"),
    Setup("onset from 5 to 14 minutes", onset_s=(300.0, 840.0)),
    Setup("scrapes of 15 s", scrape_s=15.0),
    Setup("3 instances", instances=3),
    Setup("dispersion unknown", known=False),
)


@dataclass(frozen=True)
class Bakes:
    """``requests``, ``errors``: [runs, ticks, instances]; ``phases``: when in a tick each is scraped, 0-1; ``onset``:
    the tick after which the fault begins."""

    requests: Ints
    errors: Ints
    phases: Floats
    onset: Ints


def bakes(setup: Setup, rate: float, fault: float, runs: int, rng: np.random.Generator) -> Bakes:
    """Canaries at the healthy ratio until the fault begins."""
    first, last = (int(at_s / setup.scrape_s) for at_s in setup.onset_s)
    onset = rng.integers(first, last, runs)
    shape = (runs, setup.ticks, setup.instances)
    phases = np.zeros(setup.instances) if setup.instances == 1 else rng.random((runs, 1, setup.instances))
    requests = rng.poisson(rate * SHARE * setup.scrape_s / setup.instances, shape)
    since = np.arange(1, setup.ticks + 1)[None, :, None] - onset[:, None, None]
    # An instance that is scraped early in a tick has seen only the first part of it.
    seen = np.clip(since - 1 + np.where(phases > 0, phases, 1.0), 0, 1)
    errors = rng.binomial(requests, HEALTHY + (fault - HEALTHY) * seen)
    return Bakes(requests, errors, np.broadcast_to(phases, (runs, 1, setup.instances))[:, 0], onset)


def cusum(requests: Ints, errors: Ints, fault: float, healthy: float) -> Floats:
    """Page's statistic after each tick, [runs, ticks]: the log-likelihood ratio since the likeliest onset."""
    steps = errors * math.log(fault / healthy) + (requests - errors) * math.log((1 - fault) / (1 - healthy))
    level, found = np.zeros(len(steps)), np.empty(steps.shape)
    for tick in range(steps.shape[1]):
        level = np.maximum(level, 0.0) + steps[:, tick]
        found[:, tick] = level
    return found


def threshold(
    setup: Setup, rate: float, fault: float, healthy: float, ratio: float, alarms: float, rng: np.random.Generator
) -> float:
    """What CUSUM passes in a share of ``alarms`` of the bakes that are at ``ratio`` all the time."""
    shape = (NULL_BAKES, setup.ticks)
    requests = rng.poisson(rate * SHARE * setup.scrape_s, shape)
    errors = rng.binomial(requests, ratio)
    found = cusum(requests, errors, fault, healthy).max(axis=1)
    if not setup.known:
        count = rng.poisson(requests * ratio / 20)
        errors = count + np.where(count > 0, rng.negative_binomial(np.maximum(count, 1), 1 / 20), 0)
        bursts = cusum(requests, np.minimum(errors, requests), fault, healthy).max(axis=1)
        return float(max(np.quantile(found, 1 - alarms), np.quantile(bursts, 1 - alarms)))
    return float(np.quantile(found, 1 - alarms))


def oracle(setup: Setup, rate: float, fault: float, rng: np.random.Generator, band: bool) -> Callable[[Bakes], Floats]:
    """The oracle as a rule: seconds from the onset to its alarm, infinite where it never came."""
    asked = ((1e-3, 0.003), (3e-3, 0.05)) if band else ((HEALTHY, 0.003),)
    healthy = MIDDLE if band else HEALTHY
    line = max(threshold(setup, rate, fault, healthy, ratio, alarms, rng) for ratio, alarms in asked)

    def rule(seen: Bakes) -> Floats:
        above = cusum(seen.requests.sum(axis=2), seen.errors.sum(axis=2), fault, healthy) > line
        ticks = np.where(above.any(axis=1), above.argmax(axis=1) + 1.0, np.inf)
        return (ticks - seen.onset) * setup.scrape_s

    return rule


def judged(setup: Setup, rate: float, seen: Bakes, rng: np.random.Generator) -> Floats:
    """The judge as a rule: the same seconds."""
    policy = Policy(scrape_s=setup.scrape_s, tick_s=setup.scrape_s)
    return np.array([_rolled_back_s(setup, rate, seen, run, policy, rng) for run in range(len(seen.onset))])


def _rolled_back_s(setup: Setup, rate: float, seen: Bakes, run: int, policy: Policy, rng: np.random.Generator) -> float:
    stable = rng.poisson(rate * (1 - SHARE) * setup.scrape_s, setup.ticks)
    broken = rng.binomial(stable, HEALTHY)
    hour = rng.poisson(rate * setup.scrape_s, int(3600 / setup.scrape_s))
    history = _series("old", hour, rng.binomial(hour, HEALTHY), 0.5, setup.scrape_s) if setup.known else ()
    evidence = Evidence.start(
        service="s",
        canary="new",
        stable=("old",),
        bake_start_s=0.0,
        policy=policy,
        dispersion=dispersion(history, policy),
    )
    fleet = [
        _series(str(i), seen.requests[run, :, i], seen.errors[run, :, i], seen.phases[run, i], setup.scrape_s)
        for i in range(setup.instances)
    ]
    canary = [one for pair in fleet for one in pair]
    rest = _series("old", stable, broken, 0.0, setup.scrape_s)
    for tick in range(setup.ticks + 1):
        looks = (
            RevisionSamples(tuple(CounterSeries(one.labels, one.samples[tick : tick + 1]) for one in group))
            for group in (canary, rest)
        )
        evidence = evidence.observe(Observation(tick * setup.scrape_s, *looks, oom_kills=0))
        if judge(evidence, policy).action is Action.ROLLBACK:
            return (tick - float(seen.onset[run])) * setup.scrape_s
    return math.inf


def _series(name: str, requests: Ints, errors: Ints, phase: float, scrape_s: float) -> tuple[CounterSeries, ...]:
    """Two cumulative counters of an instance. Sample 0 is their start; one with a phase is scraped before the tick."""
    times = [(k - 1 + phase if phase else k) * scrape_s for k in range(len(requests) + 1)]
    return tuple(
        CounterSeries({"instance": name, "status": status}, tuple(zip(times, [0.0, *map(float, total)], strict=True)))
        for status, total in (("200", (requests - errors).cumsum()), ("500", errors.cumsum()))
    )


def measured(setup: Setup, runs: int, rates: Sequence[float]) -> list[list[float]]:
    """Rate, fault, and the median seconds of the healthy oracle, the band oracle and the judge, for every cell."""
    cells = []
    for rate in rates:
        for fault in FAULTS:
            rng = np.random.default_rng([SEED, *setup.name.encode(), int(rate * 10), int(fault * 1000)])
            seen = bakes(setup, rate, fault, runs, rng)
            found = [
                oracle(setup, rate, fault, rng, band=False)(seen),
                oracle(setup, rate, fault, rng, band=True)(seen),
                judged(setup, rate, seen, rng),
            ]
            cells.append([rate, fault, *(float(np.median(delays[delays > 0])) for delays in found)])
    return cells


def table(cells: Sequence[Sequence[float]], before: Sequence[Sequence[float]] | None) -> str:
    """The cells of one setup, and their summary; with those of the judge before, where they were measured."""
    sides = [one for one in (before, cells) if one is not None]
    rows = []
    for index, (rate, fault, healthy, band, _) in enumerate(cells):
        ours = [side[index][4] for side in sides]
        said = (" / ".join(map(_seconds, ours)), " / ".join(_times(one, band) for one in ours))
        rows.append([f"{rate:g}", f"{100 * fault:g} %", _seconds(healthy), _seconds(band), *said])
    head = ["requests/s", "fault", "healthy oracle", "band oracle", "judge", "judge / band oracle"]
    told = []
    for side in sides:
        ratios = [ours / band for rate, _, _, band, ours in side if rate >= 20 and math.isfinite(band)]
        told.append(f"median {np.median(ratios):.2f}, worst {max(ratios):.2f}" if ratios else "not measured")
    return f"{markdown(head, rows)}\n\nFrom 20 requests/s on: {' / '.join(told)}."


def _seconds(value: float) -> str:
    return f"{value:.0f}" if math.isfinite(value) else "not in time"


def _times(ours: float, band: float) -> str:
    return f"{ours / band:.1f}" if math.isfinite(ours) and math.isfinite(band) else "–"


def everything(options: argparse.Namespace) -> dict[str, Any]:
    """All that is asked for, of the judge that is imported."""
    setups = [setup for setup in SETUPS if options.only in setup.name]
    return {
        "limit": {setup.name: measured(setup, options.runs, options.rates) for setup in setups},
        "mixed": mixed_table() if options.only in "mixed" else "",
        "families": count(options.family_runs, options.seeds, told=_told) if options.families else {},
    }


def _told(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def of_tree(tree: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """The same of the judge in another tree: this folder's bench, with that one's playbook."""
    with tempfile.TemporaryDirectory() as folder:
        for name, source in (("bench", Path(__file__).parent), ("playbook", tree.resolve() / "playbook")):
            (Path(folder) / name).symlink_to(source)
        command = [sys.executable, "-m", "bench.limit", *arguments, "--json"]
        done = subprocess.run(command, cwd=folder, env={"PYTHONPATH": folder}, check=True, stdout=subprocess.PIPE)
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table for each setup, one of the mixed traces, and those of the families. Returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="python -m bench.limit", description=__doc__)
    parser.add_argument("--runs", type=int, default=60, help="bakes in each cell (60: two minutes on a core)")
    parser.add_argument("--rates", type=float, nargs="*", default=RATES, help="requests a second of those cells")
    parser.add_argument("--only", default="", help="setups whose name contains this; 'mixed' for the mixed traces")
    parser.add_argument("--families", action="store_true", help="also canaries that are not bad")
    parser.add_argument("--family-runs", type=int, default=20, help="bakes of each family, rate and seed")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1], help="added to the seeds of make bench-judge")
    parser.add_argument("--tree", type=Path, help="another commit's working tree: its judge is shown as 'before'")
    parser.add_argument("--json", action="store_true", help="print the numbers instead of tables")
    options = parser.parse_args(given)
    if options.json:
        print(json.dumps(everything(options)))
        return 0
    before = (
        of_tree(options.tree, [one for one in given if one not in ("--tree", str(options.tree))])
        if options.tree
        else {}
    )
    now = everything(options)
    for name, cells in now["limit"].items():
        print(f"\n{name}\n\n{table(cells, before.get('limit', {}).get(name))}")
    for side, found in (("before: ", before), ("", now)):
        if text := found.get("mixed"):
            print(f"\n{side}mixed traces\n\n{text}")
    if options.families:
        print(f"\n{tables(now['families'], before.get('families'))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
