"""Does a worker grow? ``python -m bench.soak [--runs 200] [--json FILE]``: memory of worker, warm process and server.

Each run is a rollback that finds nothing to go back to: it is forked, opens its environment, reads every service, tells
people, and ends. A run's process ends with it, so what could grow is what stays: worker, warm process, server.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.footprint import memory_mb
from rehearsal.server import Backup
from rehearsal.test_environment import TestEnvironment, running_environment

AT_ONCE = 4
FEW = 20
GROWTH_MAX = 1.1
"""Of the worker between the 20th run and the last: what varies by the moment at which it is looked at."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the memory after 20 runs and after the last. Returns 1 where the worker has grown."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    seen = asyncio.run(soak(options.runs))
    for count, found in seen.items():
        print(f"after {count:3} runs: " + ", ".join(f"{name} {value:.0f}" for name, value in found.items()))
    if options.json:
        options.json.write_text(json.dumps(seen, indent=1) + "\n")
    first, last = seen[min(seen)], seen[max(seen)]
    is_flat = last["worker MB"] <= GROWTH_MAX * first["worker MB"]
    print("the worker has not grown" if is_flat else "the worker has grown")
    return 0 if is_flat else 1


async def soak(runs: int) -> dict[int, dict[str, float]]:
    """Number of runs -> megabytes of the worker and of the server, and kB that the database has grown by each run."""
    async with running_environment() as test_env:
        await test_env.clean(users_per_s=0)
        seen: dict[int, dict[str, float]] = {}
        before = await Backup(test_env.server).size_bytes()
        for number in range(0, runs, AT_ONCE):
            await asyncio.gather(*(one_run(test_env) for _ in range(AT_ONCE)))
            done = number + AT_ONCE
            if done in (FEW, runs):
                await asyncio.sleep(5)  # the last processes have ended
                grown = await Backup(test_env.server).size_bytes() - before
                seen[done] = {**memory(test_env), "database kB each": grown / 1000 / done}
        return seen


async def one_run(test_env: TestEnvironment) -> None:
    """A rollback was asked for and has ended."""
    asked = {"symptom": "Error rate 0.1-0.5%", "reason": "a soak", "requested_by": "bench"}
    run = await test_env.prefect.start("rollback/production", {"request": asked})
    await test_env.prefect.wait(run.id, 120)


def memory(test_env: TestEnvironment) -> dict[str, float]:
    """Megabytes of the worker with its warm process, and of the server."""
    worker, api = test_env.server.worker, test_env.server.api
    assert worker is not None
    assert api is not None
    return {"worker MB": memory_mb(worker.pid), "server MB": memory_mb(api.pid)}


if __name__ == "__main__":
    sys.exit(main())
