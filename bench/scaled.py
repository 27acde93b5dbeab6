"""What several machines cost: a release and rollbacks with one Prefect server, and with Prefect as on several machines.

python -m bench.scaled [--services 3] [--times 2]

Several machines are those of `python -m rehearsal up --scale`, all on this one: two API servers behind a proxy, Redis,
background services, two workers' hosts. The two are measured in turn.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from bench.release import POLICY, Figures, ours
from rehearsal.test_environment import running_environment

ROWS = {
    "trigger to first act, a release": "ours first act",
    "trigger to first act, a rollback": "ours rollback act",
    "a release, beyond the bake": "ours release",
    '"roll back" to users back': "ours rollback",
    '"roll back" to the end of the run': "ours rollback ends",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaled", description=__doc__)
    parser.add_argument("--services", type=int, default=3, metavar="N", help="how many services")
    parser.add_argument("--times", type=int, default=2, metavar="N", help="how often each is measured")
    options = parser.parse_args(arguments)
    found: dict[bool, list[Figures]] = {False: [], True: []}
    for _ in range(options.times):
        for on_several, figures in found.items():
            figures.append(asyncio.run(measure(options.services, on_several=on_several)))
    print("| seconds | one machine | several |\n|---|---|---|")
    for row, key in ROWS.items():
        cells = (", ".join(f"{one[key]:.1f}" for one in figures) for figures in found.values())
        print(f"| {row} | {' | '.join(cells)} |")
    return 0


async def measure(count: int, *, on_several: bool) -> Figures:
    """A release and rollbacks of ours, of so many services."""
    async with running_environment(policy=POLICY, services=count, on_several=on_several) as test_env:
        if not on_several:
            await test_env.server.start_worker("emergency")
        return await ours(test_env)


if __name__ == "__main__":
    sys.exit(main())
