"""The whole matrix, by exhaustion: `python tests/chaos/run.py [--plot NAME ...] [--faults | --outages] [--quiet]`.

Prints a table (call, moment, outcome, seconds) and ends with 1 if a case breaks.
"""
# ruff: noqa: T201  # a command line prints

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from cases import Case, deaths, faults, kills, kills_of_followers
from emergencies import EMERGENCIES
from outages import outages
from plots import CANCELLED, RELEASES, Plot
from undoings import UNDOINGS

PLOTS: tuple[Plot, ...] = (*RELEASES, CANCELLED, *EMERGENCIES, *UNDOINGS)


def sweeps(plots: list[Plot], disturb: Callable[[Plot], Iterator[Case]] | None) -> Iterator[Case]:
    """Every kill of every plot, then every kill of what follows an early death, one half-way and a late one; or what
    ``disturb`` does to each release."""
    if disturb:
        for plot in (plot for plot in plots if plot in RELEASES):
            yield from disturb(plot)
        return
    for plot in plots:
        yield from kills(plot)
    for plot in plots:
        for first in deaths(plot):
            yield from kills_of_followers(plot, first)


def line(case: Case) -> str:
    """One row of the table."""
    row = (
        f"{case.plot:<21}{case.who:<9}{str(case.call)[:100]:<101}{case.moment:<18}{case.outcome:<25}{case.seconds:6.1f}"
    )
    return row + "".join(f"\n    BROKEN: {sentence}" for sentence in case.wrong)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", nargs="+", choices=[plot.name for plot in PLOTS], help="only these; all without it")
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--faults", dest="disturb", action="store_const", const=faults, help="every call answered by every fault"
    )
    instead.add_argument(
        "--outages", dest="disturb", action="store_const", const=outages, help="every system gone from every call on"
    )
    parser.add_argument("--quiet", action="store_true", help="print only the cases that break, and the sum")
    options = parser.parse_args()
    began, outcomes, wrong = time.perf_counter(), Counter[str](), 0
    for case in sweeps([plot for plot in PLOTS if options.plot is None or plot.name in options.plot], options.disturb):
        outcomes[f"{case.plot}, {case.outcome}"] += 1
        wrong += bool(case.wrong)
        if case.wrong or not options.quiet:
            print(line(case), flush=True)
    took_s = time.perf_counter() - began
    print(f"\n{outcomes.total()} cases in {took_s:.0f} s: {dict(outcomes)}; {wrong} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
