"""The whole matrix: `python tests/chaos/run.py [--scenario NAME ...] [--faults | --outages | --dirty] [--quiet]`.

Prints a table (call, moment, outcome, seconds) and ends with 1 if a case breaks.
"""
# ruff: noqa: T201  # a command line prints

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial

from cases import Case, deaths, faults, kills, kills_of_followers
from dirty import dirty
from emergencies import EMERGENCIES
from migration_rollbacks import MIGRATION_ROLLBACKS
from outages import outages
from scenarios import CANCELLED, RELEASES, ChaosScenario

PLOTS: tuple[ChaosScenario, ...] = (*RELEASES, CANCELLED, *EMERGENCIES, *MIGRATION_ROLLBACKS)


def sweeps(scenarios: list[ChaosScenario], disturb: Callable[..., Iterator[Case]] | None, jobs: int) -> Iterator[Case]:
    """Every kill of every plot, then every kill of what follows an early death, one half-way and a late one; or what
    ``disturb`` does to each release."""
    if disturb:
        for scenario in (scenario for scenario in scenarios if scenario in RELEASES):
            yield from disturb(scenario, jobs=jobs)
        return
    for scenario in scenarios:
        yield from kills(scenario, jobs=jobs)
    for scenario in scenarios:
        for first in deaths(scenario):
            yield from kills_of_followers(scenario, first, jobs=jobs)


def line(case: Case) -> str:
    """One row of the table."""
    row = f"{case.scenario:<21}{case.who:<9}{str(case.call)[:100]:<101}{case.moment:<18}"
    row += f"{case.outcome:<25}{case.seconds:6.1f}"
    return row + "".join(f"\n    BROKEN: {sentence}" for sentence in case.wrong)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scenario", nargs="+", choices=[scenario.name for scenario in PLOTS], help="only these; all without it"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--faults", dest="disturb", action="store_const", const=faults, help="every call answered by every fault"
    )
    instead.add_argument(
        "--outages", dest="disturb", action="store_const", const=outages, help="every system gone from every call on"
    )
    instead.add_argument(
        "--dirty", dest="disturb", action="store_const", const=dirty, help="at every call, each event of a dirty world"
    )
    parser.add_argument("--every", type=int, default=1, help="with --dirty: only each so many calls")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="so many cases at the same time")
    parser.add_argument("--quiet", action="store_true", help="print only the cases that break, and the sum")
    options = parser.parse_args()
    began, outcomes, wrong = time.perf_counter(), Counter[str](), 0
    for case in sweeps(
        [scenario for scenario in PLOTS if options.scenario is None or scenario.name in options.scenario],
        partial(dirty, every=options.every) if options.disturb is dirty else options.disturb,
        options.jobs,
    ):
        outcomes[f"{case.scenario}, {case.outcome}"] += 1
        wrong += bool(case.wrong)
        if case.wrong or not options.quiet:
            print(line(case), flush=True)
    took_s = time.perf_counter() - began
    print(f"\n{outcomes.total()} cases in {took_s:.0f} s: {dict(outcomes)}; {wrong} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
