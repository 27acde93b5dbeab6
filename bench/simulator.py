"""Seeded traffic with a known truth, in the form of saved traces (`bench.traces`).

Each family is one way in which a canary is healthy or not. The judge's numbers were *tuned on* the first group; the
second has other seeds, but was *looked at* while tuning, and mended some rules. The third is `bench.held_out`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries, Dispersion, dispersion

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
Group = Literal["tuned on", "looked at", "held out"]
Tail = Literal["geometric", "pareto", "lognormal"]
Course = Callable[[Floats], Floats]
"""A ratio over the time in the bake (seconds; negative before it)."""


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
    group: Group = "tuned on"
    onset_s: float = 0.0
    burst: float = 1.0
    tail: Tail = "geometric"  # of the sizes of bursts
    spread: int = 1
    together: bool = False  # the bursts of canary and stable come at the same time: a shared cause
    gaps: int = 0  # times that telemetry is away for 60 s
    resets: int = 0  # times that the canary's process starts again
    late: float = 0.0  # share of scrapes that are missing
    jitter: bool = False  # scraped every 10 s instead, one scrape in three 5 s late, canary and stable each for itself
    unborn: bool = False  # no 5xx series before the first error
    surge: bool = False  # traffic triples for two minutes
    load: Course | None = None  # traffic over time, as a multiple of the rate
    before: Course | None = None  # stable's ratio in the hour before, where it is not that of the bake's first moment
    drift: float = 0.0  # the ratio wanders at random: standard deviation of its logarithm, forgotten in a minute
    uneven: bool = False  # all errors are those of one instance of three, whose share of requests changes each minute
    slow: Course | None = None  # share of the canary's requests that take 3 s
    very_slow: Course | None = None  # share that takes 8 s
    cold_s: float = 0.0  # seconds in which 40 % of the canary's requests take 8 s
    oom_at_s: float | None = None

    @property
    def timed(self) -> bool:
        """Whether latency plays a part in it."""
        return bool(self.slow or self.very_slow or self.cold_s)

    @property
    def clustered(self) -> bool:
        """Whether errors come together: in bursts, or because the ratio itself wanders."""
        return self.burst > 1 or self.drift > 0


@dataclass(frozen=True)
class Traces:
    """``counters`` [runs, 181, 24] and ``gauges`` [runs, 181, 3] as `bench.traces` reads them; ``phi_hat`` [runs]."""

    counters: NDArray[np.int32]
    gauges: NDArray[np.float32]
    history: tuple[Ints, Ints]  # stable's requests and errors in each scrape of the hour before: [runs, 720]


def _errors(rng: np.random.Generator, n: Ints, p: Floats, family: Family, bursts: Ints | None = None) -> Ints:
    """5xx in each scrape."""
    if family.drift:
        p = p * _wandering(rng, n.shape, family.drift)
    if family.burst <= 1:
        return rng.binomial(n, np.clip(p, 0, 1))
    count = rng.poisson(n * p / family.burst) if bursts is None else bursts
    total = _sizes(rng, count, family)
    out = np.zeros_like(total)
    left = total
    for later in range(family.spread):
        part = left if later == family.spread - 1 else rng.binomial(left, 1 / (family.spread - later))
        left = left - part
        out[:, later:] += part[:, : part.shape[1] - later]
    return np.minimum(out, n)


def _sizes(rng: np.random.Generator, count: Ints, family: Family) -> Ints:
    """Errors in so many bursts."""
    if family.tail == "geometric":
        return count + np.where(count > 0, rng.negative_binomial(np.maximum(count, 1), 1 / family.burst), 0)
    if family.tail == "pareto":
        drawn = [rng.pareto(2.0, c).sum() * family.burst / 2 + c for c in count.ravel()]
    else:  # 1.5: one burst in a hundred is more than ten times the mean
        drawn = [rng.lognormal(np.log(family.burst) - 1.5**2 / 2, 1.5, c).sum() for c in count.ravel()]
    return np.asarray(drawn).round().astype(np.int64).reshape(count.shape)


def _wandering(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
    """A positive factor of mean 1 for each scrape."""
    kept = float(np.exp(-TICK_S / 60))
    fresh = rng.normal(0, 1, shape)
    level = fresh.copy()
    for k in range(1, shape[1]):
        level[:, k] = kept * level[:, k - 1] + np.sqrt(1 - kept**2) * fresh[:, k]
    return np.asarray(np.exp(deviation * level - deviation**2 / 2))


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
    load: Floats = np.ones(TICKS)
    if family.surge:
        load = np.where((TIMES > 300) & (TIMES < 420), 3.0, 1.0)
    if family.load:
        load = family.load(TIMES)
    n = rng.poisson(rate * SHARE * TICK_S * load, (runs, TICKS))
    m = rng.poisson(rate * (1 - SHARE) * TICK_S * load, (runs, TICKS))
    canary, stable = family.canary(TIMES), family.stable(TIMES)
    if family.uneven:
        canary = canary * np.repeat(3 * rng.beta(1, 2, (runs, TICKS // 12)), 12, axis=1)
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
    return Traces(counters.astype(np.int32), gauges, _history(rng, family, rate, runs))


def _history(rng: np.random.Generator, family: Family, rate: float, runs: int) -> tuple[Ints, Ints]:
    """Stable's requests and errors in each scrape of the hour before: [runs, 720] each."""
    times: Floats = np.arange(-720, 0, dtype=np.float64) * TICK_S + TICK_S / 2
    hour = rng.poisson(rate * TICK_S * (family.load(times) if family.load else np.ones(720)), (runs, 720))
    ratio = family.before(times) if family.before else np.full(720, float(family.stable(np.zeros(1))[0]))
    return hour, _errors(rng, hour, ratio, family)


def past(requests: Ints, errors: Ints, policy: Policy) -> Dispersion:
    """The dispersion that the judge finds in one hour of stable's scrapes."""
    good, bad = (requests - errors).cumsum(), errors.cumsum()
    series = [
        CounterSeries({"status": status}, tuple((TICK_S * k, float(v)) for k, v in enumerate(values)))
        for status, values in (("200", good), ("500", bad))
    ]
    return dispersion(series, policy)


def _columns(rng: np.random.Generator, n: Ints, x: Ints, slow: Floats, very: Floats) -> Ints:
    """One revision's twelve columns, as increments."""
    absent = rng.binomial(n - x, 0.02)
    head = np.stack([n - x - absent, absent, x], axis=-1)
    return np.concatenate([head, _buckets(rng, n, slow, very)], axis=-1)


def _disturb(rng: np.random.Generator, family: Family, counters: Ints) -> None:
    """Restarts of the canary, gaps, scrapes that are missing or late, series not yet born; in place."""
    for run in counters:
        for at in sorted(set(rng.integers(20, TICKS - 20, family.resets).tolist())):
            run[at:, :12] -= run[at - 1, :12]
        for at in rng.integers(10, TICKS - 30, family.gaps):
            run[at : at + 12] = -1
    if family.late:
        missing = rng.random(counters.shape[:2]) < family.late
        missing[:, 0] = False
        counters[missing] = -1
    if family.unborn:
        for column in (2, 14):
            errors = counters[:, :, column]
            errors[errors == 0] = -1
    if family.jitter:
        for columns in (slice(0, 12), slice(12, 24)):
            late = rng.random((len(counters), TICKS // 2)) < 1 / 3
            counters[:, 2::2, columns][late] = -1
            came = np.pad(late[:, :-1], ((0, 0), (1, 0)))  # the scrape due 5 s before
            counters[:, 1::2, columns][~came] = -1


def _f(name: str, truth: Truth, canary: Course, **more: object) -> Family:
    return Family(name, truth, canary, **more)  # type: ignore[arg-type]


def _late(name: str, truth: Truth, canary: Course, **more: object) -> Family:
    """A family with other seeds, made after the first numbers were chosen and looked at since."""
    return Family(name, truth, canary, group="looked at", **more)  # type: ignore[arg-type]


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
    _late("0.05 % in heavy bursts", "healthy", steady(5e-4), stable=steady(5e-4), burst=10, tail="pareto"),
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
    _late("3 % in heavy bursts of 10", "bad", steady(0.03), burst=10, tail="pareto"),
    _late("1 instance of 3 fails 5 %", "bad", steady(0.05 / 3)),
    _late("3 %, a fifth of scrapes missing", "bad", steady(0.03), late=0.2),
    _late("10 % slower than 5 s", "bad", steady(1e-4), very_slow=steady(0.1)),
    _late("killed for memory at 400 s", "bad", steady(1e-4), oom_at_s=400, onset_s=400),
    _late("shared outage, 5 % from 200 s", "shared", step(0.05, 200), stable=step(0.05, 200), onset_s=200),
)
