"""200 bakes of every kind, made from one seed: onsets anywhere, ramps, bursts, gaps, restarts, and healthy ones.

Deterministic, so the seed is committed rather than the traces.
"""

import numpy as np

from bench.simulator import TICK_S, Course, Family, flicker, generate, past, ramp, steady, step
from bench.tables import markdown
from bench.traces import replay_trace
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action

SEED = 15
COUNT = 200


def mixed() -> list[tuple[Family, float]]:
    """The families, each of one bake, and the service's requests a second."""
    rng = np.random.default_rng(SEED)
    return [_one(rng, number) for number in range(COUNT)]


def _one(rng: np.random.Generator, number: int) -> tuple[Family, float]:
    rate = float(10 ** rng.uniform(1.3, 3.3))
    gaps, resets = (int(rng.integers(0, 3)) if rng.random() < 0.25 else 0 for _ in range(2))
    late = 0.2 if rng.random() < 0.15 else 0.0
    burst = float(rng.choice([1, 1, 1, 3, 10]))
    background = float(10 ** rng.uniform(-4.3, -3.3))
    if number % 4 == 3:
        healthy = steady(background)
        return (
            Family(f"mixed {number}", "healthy", healthy, healthy, burst=burst, gaps=gaps, resets=resets, late=late),
            rate,
        )
    ratio, onset_s = float(10 ** rng.uniform(-1.8, -0.5)), float(rng.integers(0, 140) * TICK_S)
    shape: Course = step(ratio, onset_s, before=background)
    if number % 8 == 1:
        shape = ramp(ratio, 180, onset_s)
    elif number % 8 == 5:
        wave = flicker(ratio, 60, 30)
        shape = lambda t: np.where(t < onset_s, background, wave(t - onset_s))  # noqa: E731
    return (
        Family(
            f"mixed {number}",
            "bad",
            shape,
            steady(background),
            onset_s=onset_s,
            burst=burst,
            gaps=gaps,
            resets=resets,
            late=late,
        ),
        rate,
    )


def mixed_table() -> str:
    """What the judge says of them: delays of the bad ones (infinite where not rolled back), and what it got wrong."""
    delays, said = [], {"healthy": [0, 0, 0], "bad": [0, 0, 0]}
    for family, rate in mixed():
        traces = generate(family, rate, 1, SEED)
        known = past(traces.history[0][0], traces.history[1][0], Policy())
        found = replay_trace(traces.counters[0], traces.gauges[0], TICK_S, known, timed=False)
        is_back = found.verdict is Action.ROLLBACK
        said[family.truth][0 if is_back else 1 if found.verdict is Action.INCONCLUSIVE else 2] += 1
        if family.truth == "bad":
            at_s = 900.0 if found.at_s is None else found.at_s
            delays.append(at_s - family.onset_s if is_back else np.inf)
    rows = [[truth, str(sum(counts)), *map(str, counts)] for truth, counts in said.items()]
    return (
        f"{markdown(['truth', 'bakes', 'rolled back', 'to a person', 'promoted'], rows)}\n\n"
        f"Delay of the bad ones: median {np.median(delays):.0f} s, "
        f"95th percentile {np.quantile(delays, 0.95, method='higher'):.0f} s."
    )
