"""The whole matrix, by exhaustion: `python tests/chaos/run.py [--plot NAME] [--faults | --outages] [--quiet]`.

Prints a table (call, moment, outcome, seconds) and ends with 1 if a case breaks.
"""
# ruff: noqa: T201  # a command line prints

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator

from cases import PLOTS, Case, Plot, faults, kills, kills_of_recovery, recorded
from outages import outages
from wire import Moment


def sweeps(plots: list[Plot], disturb: Callable[[Plot], Iterator[Case]] | None) -> Iterator[Case]:
    """Every kill of every release, then every kill of the recovery that follows a death half-way; or what ``disturb``
    does to each."""
    if disturb:
        for plot in plots:
            yield from disturb(plot)
        return
    for plot in plots:
        yield from kills(plot)
    for plot in plots:
        calls, _ = recorded(plot)
        moves = [call for call in calls if call.method == "write" and call.subject.startswith("production")]
        for call in (moves[0], moves[len(moves) // 2], moves[-1]):
            yield from kills_of_recovery(plot, {call.n: Moment.APPLIED})


def line(case: Case) -> str:
    """One row of the table."""
    row = (
        f"{case.plot:<13}{case.who:<9}{str(case.call)[:100]:<101}{case.moment:<18}{case.outcome:<11}{case.seconds:6.1f}"
    )
    return row + "".join(f"\n    BROKEN: {sentence}" for sentence in case.wrong)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", choices=[plot.name for plot in PLOTS], help="only this release")
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
    for case in sweeps([plot for plot in PLOTS if options.plot in (None, plot.name)], options.disturb):
        outcomes[f"{case.plot}, {case.outcome}"] += 1
        wrong += bool(case.wrong)
        if case.wrong or not options.quiet:
            print(line(case), flush=True)
    took_s = time.perf_counter() - began
    print(f"\n{outcomes.total()} cases in {took_s:.0f} s: {dict(outcomes)}; {wrong} broken")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
