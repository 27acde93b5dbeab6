"""Fifty releases in a row, each with a random kill or fault: `python tests/chaos/soak.py [--releases N] [--seed S]`.

One outside: what one release leaves on the services the next one finds. The invariants are looked at after each. What
the vendors received is forgotten then, so that all memory that still grows is the product's, or a leak of the driver.
"""
# ruff: noqa: T201  # a command line prints; the random numbers depend on the seed only

import argparse
import gc
import random
import sys
import time
import tracemalloc
from collections import Counter

from cloud import Behaviour
from driver import TestEnvironment, play
from faults import Fault
from fixture import SERVICES
from invariants import services_wrong
from wire import Moment

BACKENDS = (Behaviour(), Behaviour(), Behaviour(errors=0.05), Behaviour(starts=False), Behaviour(smoke=False))
CALLS = 250
"""About as many calls as a release makes: the kill or fault hits one of them."""

GROWTH_MAX = 1.25
"""Between the middle and the end: what varies by the kind of release that was last."""


async def soak(
    test_env: TestEnvironment, releases: int, dice: random.Random
) -> tuple[Counter[str], list[str], list[int]]:
    """How the releases ended, everything that broke, and the memory held after each (bytes)."""
    ends: Counter[str] = Counter()
    wrong: list[str] = []
    held: list[int] = []
    for number in range(releases):
        version = f"v20251116-{0xABC000 + number:06x}"
        test_env.fixture.publish(version, {dice.choice(SERVICES): dice.choice(BACKENDS)})
        disturbance = dice.choice([*Moment, *Fault])
        run = await test_env.release(version, {dice.randrange(CALLS): disturbance}, changes="x")
        await test_env.recover()
        await test_env.catch_up()
        ends[run.end] += 1
        left = [sentence for where in test_env.fixture.clouds for sentence in services_wrong(test_env, where)]
        wrong += [f"release {number} ({disturbance}, {run.end}): {sentence}" for sentence in left]
        await test_env.forget()
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    return ends, wrong, held


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--releases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    tracemalloc.start()
    ends, wrong, held = play(lambda test_env: soak(test_env, options.releases, random.Random(options.seed)))
    for sentence in wrong:
        print(f"BROKEN: {sentence}")
    middle, last = (sum(some) / len(some) / 1e6 for some in (held[len(held) // 2 - 5 :][:10], held[-10:]))
    is_flat = last < GROWTH_MAX * middle
    print(f"{options.releases} releases in {time.perf_counter() - began:.0f} s: {dict(ends)}; {len(wrong)} broken")
    print(
        f"memory held by product, driver and what stands on the services (ten releases' mean): "
        f"{middle:.2f} MB half-way, {last:.2f} MB at the end: {'flat' if is_flat else 'it grows'}"
    )
    return 0 if is_flat and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
