"""The judge against the rules of others, on simulated traffic: `python -m bench.judge` fills docs/judge-measured.md.

Every rule sees the same traces. Ours is the real judge, fed through the same code as `bench.replay`, with the
dispersion it finds in an hour of stable's past; "ours, 15 s" sees every third scrape of the same traces.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.held_out import HELD_OUT
from bench.peers import PEERS, Counts
from bench.simulator import FAMILIES, RATES, TICK_S, Family, Group, generate, past
from bench.tables import Cell, fill, held_out, prices_of, tables
from bench.traces import replay_trace
from playbook.analysis.policy import Policy

OURS = {"ours": 1, "ours, 15 s": 3}
"""Which scrapes each of our two sees: all, or every third."""
SEEDS: dict[Group, int] = {"tuned on": 1000, "looked at": 9000, "held out": 20261123}


@dataclass(frozen=True)
class Run:
    """What a rule did on one trace: when it came to what, whether it blamed a shared cause, and what users paid."""

    verdict: str
    delay_s: float
    errors: float
    shared: bool = False


def measure(family: Family, rate: float, runs: int, seed: int, alone: bool = False) -> Iterable[Cell]:
    """One cell of the tables for each rule; ``alone``: for ours at 5 s only."""
    traces = generate(family, rate, runs, seed)
    ours_at = {name: every for name, every in OURS.items() if every == 1 or not alone}
    peers = {} if family.timed or alone else PEERS
    found: dict[str, list[Run]] = {name: [] for name in (*ours_at, *peers)}
    for i in range(runs):
        counters, gauges = traces.counters[i], traces.gauges[i]
        canary, stable = Counts(counters[:, :3], TICK_S), Counts(counters[:, 12:15], TICK_S)

        def run(verdict: str, at_s: float, shared: bool = False, canary: Counts = canary) -> Run:
            upto = int(at_s / TICK_S) if verdict == "ROLLBACK" else -1
            return Run(verdict, at_s - family.onset_s, float(canary.x[upto]), shared)

        for name, every in ours_at.items():
            policy = Policy(scrape_s=TICK_S * every, tick_s=TICK_S * every)
            ours = replay_trace(
                counters[::every],
                gauges[::every],
                TICK_S * every,
                past(traces.history[0][i], traces.history[1][i], Policy()),
                policy,
                timed=family.timed,
            )
            at_s = 900.0 if ours.at_s is None else ours.at_s
            found[name].append(run(ours.verdict.value, at_s, ours.attribution == "shared"))
        for name, rule in peers.items():
            decision = rule(canary, stable)
            found[name].append(run(decision.verdict, decision.at_s))
    for name, results in found.items():
        yield _cell(name, family, rate, results)


def _cell(rule: str, family: Family, rate: float, results: Sequence[Run]) -> Cell:
    back = [r for r in results if r.verdict == "ROLLBACK"]
    delays = [r.delay_s for r in back]
    return Cell(
        rule=rule,
        family=family,
        rate=rate,
        rolled_back=len(back) / len(results),
        promoted=sum(r.verdict == "PROMOTE" for r in results) / len(results),
        delay_s=float(np.median(delays)) if delays else None,
        delay_p95_s=float(np.quantile(delays, 0.95)) if delays else None,
        errors=float(np.mean([r.errors for r in results])),
        shared=sum(r.shared for r in back) / len(back) if back else 0.0,
    )


def prices(runs: int) -> str:
    """What ours does to canaries that are not bad: every family of the three groups, at every rate."""
    families = [family for family in (*FAMILIES, *HELD_OUT) if family.truth != "bad"]
    cells = [
        cell
        for family in families
        for rate in RATES
        for cell in measure(family, rate, runs, SEEDS[family.group], alone=True)
    ]
    return prices_of(cells, runs)


def _measured(families: Sequence[Family], only: str, runs: int) -> list[Cell]:
    """Every cell of the families whose name contains ``only``, at every rate."""
    cells: list[Cell] = []
    began_s = time.monotonic()
    for family in families:
        if only not in family.name:
            continue
        for rate in RATES:
            cells += measure(family, rate, runs, SEEDS[family.group])
        print(f"{time.monotonic() - began_s:5.0f} s  {family.truth:8} {family.name}", flush=True)
    return cells


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every family at every rate and write the tables. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.judge", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=30, help="traces per family and rate (30: some 8 minutes on a core)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("docs/judge-measured.md"), help="the page whose tables are written"
    )
    parser.add_argument("--only", default="", help="families whose name contains this; prints the tables instead")
    parser.add_argument("--group", choices=["known", "held out"], help="only these families, only their tables")
    parser.add_argument("--prices", action="store_true", help="print what ours alone does to canaries that are not bad")
    options = parser.parse_args(arguments)
    if options.prices:
        print(prices(options.runs))
        return 0
    made: dict[str, str] = {}
    if options.group != "held out":
        made |= tables(_measured(FAMILIES, options.only, options.runs), options.runs)
    if options.group != "known":
        made |= held_out(_measured(HELD_OUT, options.only, options.runs), options.runs)
    if options.only:
        print("\n\n".join(f"{name}\n\n{text}" for name, text in made.items()))
    else:
        options.out.write_text(fill(options.out.read_text(), made))
        print(f"tables written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
