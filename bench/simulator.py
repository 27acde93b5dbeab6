"""Seeded traffic with a known truth, in the form of saved traces (`bench.replay`).

Each family is one way in which a canary is healthy or not. `seen` families were looked at while the judge's numbers
were chosen; the others were not, and have other seeds: what the judge does there is the honest figure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TICK_S = 5
TICKS = 180
SHARE = 0.1
RATES = (0.2, 2.0, 20.0, 200.0, 2000.0)
"""Requests a second of the whole service; the canary gets a tenth."""
TIMES: Floats = np.arange(TICKS, dtype=np.float64) * TICK_S + TICK_S / 2
EDGES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, float("inf"))
_FASTER = (0.4, 0.65, 0.88, 0.95, 0.985)
"""Share of the requests that are not slow under each edge below 2 s."""

Truth = Literal["healthy", "band", "bad", "shared"]
Course = Callable[[Floats], Floats]
"""A ratio over the time in the bake (seconds)."""


def steady(ratio: float) -> Course:
    """Always the same."""
    return lambda t: np.full_like(t, ratio)


CLEAN = steady(1e-4)


def step(ratio: float, at_s: float, until_s: float = 1e9, before: float = 1e-4) -> Course:
    """``ratio`` from ``at_s`` until ``until_s``, ``before`` otherwise."""
    return lambda t: np.where((t >= at_s) & (t < until_s), ratio, before)


def ramp(ratio: float, over_s: float, from_s: float = 0.0) -> Course:
    """From 0.01 % up to ``ratio``."""
    return lambda t: 1e-4 + (ratio - 1e-4) * np.clip((t - from_s) / over_s, 0, 1)


def waves(mean: float, period_s: float) -> Course:
    """Between nothing and twice the mean."""
    return lambda t: mean * (1 + np.sin(2 * np.pi * t / period_s))


def flicker(ratio: float, on_s: float, off_s: float) -> Course:
    """``ratio`` for ``on_s``, then nothing for ``off_s``, again and again."""
    return lambda t: np.where(t % (on_s + off_s) < on_s, ratio, 1e-4)


@dataclass(frozen=True)
class Family:
    """One kind of canary. ``burst``: errors that come together on average; ``spread``: scrapes a burst lies across."""

    name: str
    truth: Truth
    canary: Course
    stable: Course = CLEAN
    seen: bool = True
    onset_s: float = 0.0
    burst: float = 1.0
    heavy: bool = False  # sizes of bursts have a heavy tail instead of a geometric one
    spread: int = 1
    together: bool = False  # the bursts of canary and stable come at the same time: a shared cause
    gaps: int = 0  # times that telemetry is away for 60 s
    resets: int = 0  # times that the canary's process starts again
    late: float = 0.0  # share of scrapes that are missing
    surge: bool = False  # traffic triples for two minutes
    slow: Course | None = None  # share of the canary's requests that take 3 s
    very_slow: Course | None = None  # share that takes 8 s
    cold_s: float = 0.0  # seconds in which 40 % of the canary's requests take 8 s
    oom_at_s: float | None = None

    @property
    def timed(self) -> bool:
        """Whether latency plays a part in it."""
        return bool(self.slow or self.very_slow or self.cold_s)


@dataclass(frozen=True)
class Traces:
    """``counters`` [runs, 181, 24] and ``gauges`` [runs, 181, 3] as `bench.replay` reads them; ``phi_hat`` [runs]."""

    counters: NDArray[np.int32]
    gauges: NDArray[np.float32]
    history: tuple[Ints, Ints]  # stable's requests and errors in each scrape of the hour before: [runs, 720]


def _errors(rng: np.random.Generator, n: Ints, p: Floats, family: Family, bursts: Ints | None = None) -> Ints:
    """5xx in each scrape."""
    if family.burst <= 1:
        return rng.binomial(n, np.clip(p, 0, 1))
    count = rng.poisson(n * p / family.burst) if bursts is None else bursts
    if family.heavy:
        mean = family.burst / 2
        drawn = [rng.pareto(2.0, c).sum() * mean + c for c in count.ravel()]
        total = np.asarray(drawn).round().astype(np.int64).reshape(count.shape)
    else:
        total = count + np.where(count > 0, rng.negative_binomial(np.maximum(count, 1), 1 / family.burst), 0)
    out = np.zeros_like(total)
    left = total
    for later in range(family.spread):
        part = left if later == family.spread - 1 else rng.binomial(left, 1 / (family.spread - later))
        left = left - part
        out[:, later:] += part[:, : part.shape[1] - later]
    return np.minimum(out, n)


def _buckets(rng: np.random.Generator, n: Ints, slow: Floats, very: Floats) -> Ints:
    """Requests under each edge, per scrape: [runs, ticks, 9]."""
    over5 = rng.binomial(n, np.clip(very + 2e-4, 0, 1))
    over2 = over5 + rng.binomial(n - over5, np.clip(slow + 3e-3, 0, 1))
    fast = n - over2
    under = [np.floor(fast * share).astype(np.int64) for share in _FASTER]
    return np.stack([*under, fast, n - over5, n, n], axis=-1)


def generate(family: Family, rate: float, runs: int, seed: int) -> Traces:
    """``runs`` traces of a family at ``rate`` requests a second."""
    rng = np.random.default_rng([seed, *family.name.encode(), int(rate * 10)])
    load = np.where((TIMES > 300) & (TIMES < 420), 3.0, 1.0) if family.surge else np.ones(TICKS)
    n = rng.poisson(rate * SHARE * TICK_S * load, (runs, TICKS))
    m = rng.poisson(rate * (1 - SHARE) * TICK_S * load, (runs, TICKS))
    canary, stable = family.canary(TIMES), family.stable(TIMES)
    shared = rng.poisson((n + m) * stable / family.burst) if family.together else None
    x = _errors(rng, n, canary, family, None if shared is None else rng.binomial(shared, SHARE))
    y = _errors(rng, m, stable, family, shared)
    none = np.zeros(TICKS)
    cold = 0.4 * (family.cold_s > TIMES)
    slow = family.slow(TIMES) if family.slow else none
    very = family.very_slow(TIMES) if family.very_slow else none
    grown = np.concatenate(
        [_columns(rng, n, x, slow, np.maximum(very, cold)), _columns(rng, m, y, none, none)], axis=-1
    )
    counters = np.zeros((runs, TICKS + 1, 24), np.int64)
    counters[:, 1:] = grown.cumsum(axis=1)
    _disturb(rng, family, counters)
    gauges = np.zeros((runs, TICKS + 1, 3), np.float32)
    gauges[..., 0], gauges[..., 1] = 0.4, 0.5
    if family.oom_at_s is not None:
        gauges[:, int(family.oom_at_s / TICK_S) :, 2] = 1
    hour = rng.poisson(rate * TICK_S, (runs, 720))
    past = _errors(rng, hour, np.full(720, float(family.stable(np.zeros(1))[0])), family)
    return Traces(counters.astype(np.int32), gauges, (hour, past))


def _columns(rng: np.random.Generator, n: Ints, x: Ints, slow: Floats, very: Floats) -> Ints:
    """One revision's twelve columns, as increments."""
    absent = rng.binomial(n - x, 0.02)
    head = np.stack([n - x - absent, absent, x], axis=-1)
    return np.concatenate([head, _buckets(rng, n, slow, very)], axis=-1)


def _disturb(rng: np.random.Generator, family: Family, counters: Ints) -> None:
    """Restarts of the canary, gaps and missing scrapes, in place."""
    for run in counters:
        for at in sorted(rng.integers(20, TICKS - 20, family.resets)):
            run[at:, :12] -= run[at - 1, :12]
        for at in rng.integers(10, TICKS - 30, family.gaps):
            run[at : at + 12] = -1
    if family.late:
        missing = rng.random(counters.shape[:2]) < family.late
        missing[:, 0] = False
        counters[missing] = -1


def _f(name: str, truth: Truth, canary: Course, **more: object) -> Family:
    return Family(name, truth, canary, **more)  # type: ignore[arg-type]


def _late(name: str, truth: Truth, canary: Course, **more: object) -> Family:
    """A family that was not looked at while numbers were chosen."""
    return Family(name, truth, canary, seen=False, **more)  # type: ignore[arg-type]


FAMILIES: tuple[Family, ...] = (
    _f("0.01 %", "healthy", steady(1e-4)),
    _f("0.05 %", "healthy", steady(5e-4), stable=steady(5e-4)),
    _f("0.1 %", "healthy", steady(1e-3), stable=steady(1e-3)),
    _f("0.05 % in bursts of 5", "healthy", steady(5e-4), stable=steady(5e-4), burst=5),
    _f("0.1 % in bursts of 20", "healthy", steady(1e-3), stable=steady(1e-3), burst=20),
    _f("0.01 %, 2 gaps, 3 restarts", "healthy", steady(1e-4), gaps=2, resets=3),
    _f("cold start, 30 s slow", "healthy", steady(1e-4), cold_s=30),
    _f("0.3 %", "band", steady(3e-3)),
    _f("0.4 %, stable too", "band", steady(4e-3), stable=steady(4e-3)),
    _f("100 %", "bad", steady(1.0)),
    _f("5 %", "bad", steady(0.05)),
    _f("2 %", "bad", steady(0.02)),
    _f("1 %", "bad", steady(0.01)),
    _f("0.6 %", "bad", steady(0.006)),
    _f("1 %, stable 0.4 %", "bad", steady(0.01), stable=steady(4e-3)),
    _f("5 % from 300 s", "bad", step(0.05, 300), onset_s=300),
    _f("1 % from 300 s", "bad", step(0.01, 300), onset_s=300),
    _f("ramp to 5 % in 600 s", "bad", ramp(0.05, 600)),
    _f("2 % in bursts of 20", "bad", steady(0.02), burst=20),
    _f("2 %, 2 gaps, 3 restarts", "bad", steady(0.02), gaps=2, resets=3),
    _f("20 % slower than 5 s", "bad", steady(1e-4), very_slow=steady(0.2)),
    _f("shared outage, 20 % for 180 s", "shared", step(0.2, 300, 480), stable=step(0.2, 300, 480), onset_s=300),
    _late("0.07 % in waves", "healthy", waves(7e-4, 200), stable=waves(7e-4, 200)),
    _late("0.05 % in bursts across 2 scrapes", "healthy", steady(5e-4), stable=steady(5e-4), burst=10, spread=2),
    _late("0.05 % in heavy bursts", "healthy", steady(5e-4), stable=steady(5e-4), burst=10, heavy=True),
    _late("0.03 %, bursts shared with stable", "healthy", steady(3e-4), stable=steady(3e-4), burst=8, together=True),
    _late("0.02 %, a fifth of scrapes missing", "healthy", steady(2e-4), late=0.2),
    _late("0.05 %, traffic triples", "healthy", steady(5e-4), stable=steady(2e-4), surge=True),
    _late("cold start, 60 s slow", "healthy", steady(1e-4), cold_s=60),
    _late("4 % slower than 2 s", "healthy", steady(1e-4), slow=steady(0.037)),
    _late("0.2 %", "band", steady(2e-3), stable=steady(1e-3)),
    _late("0.35 % in bursts of 5", "band", steady(3.5e-3), stable=steady(1e-3), burst=5),
    _late("30 %", "bad", steady(0.3)),
    _late("3 %", "bad", steady(0.03)),
    _late("1.5 %", "bad", steady(0.015)),
    _late("0.8 %, stable 0.2 %", "bad", steady(0.008), stable=steady(2e-3)),
    _late("10 % for 20 s in every 120 s", "bad", flicker(0.1, 20, 100)),
    _late("3 % from 600 s", "bad", step(0.03, 600), onset_s=600),
    _late("ramp to 3 % in 300 s from 200 s", "bad", ramp(0.03, 300, 200), onset_s=200),
    _late("3 % in heavy bursts of 10", "bad", steady(0.03), burst=10, heavy=True),
    _late("1 instance of 3 fails 5 %", "bad", steady(0.05 / 3)),
    _late("3 %, a fifth of scrapes missing", "bad", steady(0.03), late=0.2),
    _late("10 % slower than 5 s", "bad", steady(1e-4), very_slow=steady(0.1)),
    _late("killed for memory at 400 s", "bad", steady(1e-4), oom_at_s=400, onset_s=400),
    _late("shared outage, 5 % from 200 s", "shared", step(0.05, 200), stable=step(0.05, 200), onset_s=200),
)
