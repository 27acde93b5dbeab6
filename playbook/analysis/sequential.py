"""Tests that may be looked at after every scrape: a fold of a few floats, no clock, no history.

An e-process starts at 1 and, while its null hypothesis is true, never grows on average, whatever came before. So the
chance that it *ever* reaches 1/alpha is at most alpha (Ville's inequality), however often one looks and whenever one
stops. Each test here is an average of simple e-processes, one for each way in which the hypothesis may be wrong:

- *bets* assume nothing about requests within one scrape; a burst of errors is one event;
- *tilts* are likelihood ratios taken to the power 1/phi. They see a large fault within one scrape, and hold as long as
  errors come at most phi together;
- both start anew at every scrape with a little of the initial 1 (`onset`), so that a good beginning need not be undone
  when the fault comes late. What is not yet spent stays as cash;
- where bad requests are known to come alone, tilts with a small phi see a fault that *lasts*. No scrape multiplies
  them by more than `MOST_ALONE`, so that three scrapes must agree.

Proofs, and the simulation that checks them: docs/judge.md.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Self

SINGLE_MAX = 2.0
"""A dispersion below this means that errors come one at a time; from there on one burst may hold several."""
ALONE = 1.25  # below this dispersion bad requests come alone, and the tilts that rely on it allow for so many together
LASTING_TIMES = (2.5, 6.0)  # the faults that they look for, as multiples of the line
MOST_ALONE = 80.0
"""What a scrape may multiply such a tilt by. Two scrapes alone never reach 200 to 1, whatever they count: after the
first one, a 190th of the initial 1 enters at a scrape of 5 s, a 63rd at one of 15 s."""
_HUGE = 1e60  # a mass is cut off here: less than it may be, so still an e-process, and never an overflow
_MOST = 99.0
_FIRST = 0.5  # share of the initial 1 that bets on a fault from the first scrape on
_PLANNED = 0.95  # share that is spent at the horizon's end, evenly but for the first; the rest is for what comes after


class Onset(NamedTuple):
    """How much of the initial 1 is still cash, for how long the test has run (seconds), and the share of the start."""

    cash: float = 1.0
    elapsed_s: float = 0.0
    first: float = _FIRST

    def spend(self, dt_s: float, horizon_s: float) -> tuple[float, "Onset"]:
        """The share that starts to play at this scrape, ``dt_s`` after the one before, and what is left."""
        if self.cash == 1.0:
            share = self.first
        elif self.elapsed_s < horizon_s:
            share = (_PLANNED - self.first) * min(dt_s, horizon_s - self.elapsed_s) / horizon_s
        else:
            share = self.cash * min(1.0, dt_s / horizon_s)
        share = min(share, self.cash)
        return share, Onset(self.cash - share, self.elapsed_s + dt_s, self.first)


Masses = tuple[float, ...]
"""What each simple e-process of a test is worth now. The test's e-value is their sum and the cash."""


class _Test:
    __slots__ = ()
    start: Masses

    @property
    def nothing(self) -> Masses:
        """The masses before the first scrape: all of the initial 1 is cash."""
        return (0.0,) * len(self.start)


@dataclass(frozen=True, slots=True)
class Ceiling(_Test):
    """H0: each request is bad with a chance of at most ``p0``, given everything before its scrape."""

    p0: float
    bets: tuple[float, ...]
    tilts: tuple[tuple[float, float], ...]
    start: Masses = field(repr=False)
    losses: tuple[float, ...] = field(repr=False)  # what is left of each bet after a scrape without a bad request
    most: float = _MOST  # the logarithm of what a scrape may multiply a tilt by

    @classmethod
    @functools.lru_cache(maxsize=256)
    def at(cls, p0: float, phi: float, tilted: float = 0.5) -> Self:
        """The test of the ceiling ``p0`` that allows for bursts of up to ``phi`` bad requests.

        ``tilted``: the share of the initial 1 that goes to the tilts.
        """
        bets = (0.05, 0.15, 0.4, 0.7, 0.95)
        tilts = _tilts(p0, phi, sorted({min(0.9, p0 * times) for times in (2, 6, 20, 100)}))
        start = ((1 - tilted) / len(bets),) * len(bets) + (tilted / len(tilts),) * len(tilts)
        return cls(p0, bets, tilts, start, tuple(1 - c for c in bets))

    @classmethod
    @functools.lru_cache(maxsize=256)
    def alone(cls, p0: float) -> Self:
        """The test of the ceiling ``p0`` that relies on bad requests coming alone: tilts only, cut at `MOST_ALONE`."""
        tilts = _tilts(p0, ALONE, [min(0.9, p0 * times) for times in LASTING_TIMES])
        return cls(p0, (), tilts, (1 / len(tilts),) * len(tilts), (), math.log(MOST_ALONE))

    def step(self, masses: Masses, share: float, n: float, x: float) -> Masses:
        """The masses after a scrape with ``n`` requests, ``x`` of them bad (0 <= x <= n)."""
        if n <= 0:
            return tuple([m + share * s for m, s in zip(masses, self.start, strict=True)]) if share else masses
        if not x:  # most scrapes: the bets lose what they risk, and nothing can grow too large
            factors = [*self.losses, *[math.exp(n * b) for _, b in self.tilts]]
            return tuple([(m + share * s) * f for m, s, f in zip(masses, self.start, factors, strict=True)])
        edge = x / n / self.p0 - 1
        ok = n - x
        factors = [1 + c * edge for c in self.bets]
        factors += [math.exp(min(self.most, x * a + ok * b)) for a, b in self.tilts]
        return _grow(masses, self.start, share, factors)


def _tilts(p0: float, phi: float, rates: Iterable[float]) -> tuple[tuple[float, float], ...]:
    """What a bad request and what a good one add to the logarithm of each tilt."""
    return tuple((math.log(q / p0) / phi, math.log((1 - q) / (1 - p0)) / phi) for q in rates)


@dataclass(frozen=True, slots=True)
class Relative(_Test):
    """H0: the canary's odds of a bad request are at most ``rho`` times stable's, given everything before.

    Only how the bad requests of a scrape split between the two is looked at: their number, which a shared cause may
    drive, cancels.
    """

    rho: float
    phi: float
    bets: tuple[float, ...] = (0.3, 0.6, 0.95)
    ratios: tuple[float, ...] = (3.0, 10.0, 100.0)
    # Large bets weigh more: errors are rare, so few scrapes decide.
    start: Masses = field(default=(0.1, 0.15, 0.25, 0.5 / 3, 0.5 / 3, 0.5 / 3), repr=False)

    def step(self, masses: Masses, share: float, n: float, x: float, m: float, y: float) -> Masses:
        """The masses after a scrape: canary ``n`` requests, ``x`` bad; stable ``m`` requests, ``y`` bad."""
        bad = x + y
        if bad <= 0 or n <= 0 or m <= 0:
            return tuple([v + share * s for v, s in zip(masses, self.start, strict=True)]) if share else masses
        theta = self.rho * n / (self.rho * n + m)
        edge = x / bad / theta - 1
        factors = [1 + c * edge for c in self.bets]
        for r in self.ratios:
            tilted = r * self.rho * n / (r * self.rho * n + m)
            gain = x * math.log(tilted / theta) + y * math.log((1 - tilted) / (1 - theta))
            factors.append(math.exp(min(_MOST, gain / self.phi)))
        return _grow(masses, self.start, share, factors)


@dataclass(frozen=True, slots=True)
class Shortfall(_Test):
    """H0: each request is the canary's with a chance of at least ``share``. Tilts only: which of two revisions gets a
    request is drawn for each one, so hardly any come together (``phi``)."""

    gains: tuple[tuple[float, float], ...]  # what a request of the canary and one of stable add to each logarithm
    phi: float = 5.0
    start: Masses = (0.25,) * 4

    @classmethod
    @functools.lru_cache(maxsize=256)
    def of(cls, share: float) -> Self:
        """The test of this share of all requests."""
        lower = (0.9, 0.75, 0.5, 0.1)
        return cls(tuple((math.log(part), math.log((1 - part * share) / (1 - share))) for part in lower))

    def step(self, masses: Masses, share: float, n: float, m: float) -> Masses:
        """The masses after a scrape with ``n`` requests of the canary and ``m`` of stable."""
        logs = [(n * a + m * b) / self.phi for a, b in self.gains]
        return _grow(masses, self.start, share, [math.exp(max(-_MOST, min(_MOST, one))) for one in logs])


def _grow(masses: Masses, start: Masses, share: float, factors: list[float]) -> Masses:
    grown = [(m + share * s) * f for m, s, f in zip(masses, start, factors, strict=True)]
    return tuple(grown if max(grown) <= _HUGE else [min(_HUGE, mass) for mass in grown])


def upper_bound(n: float, x: float, phi_hat: float, alpha: float) -> float:
    """The bad ratio that is ruled out at ``alpha`` after ``n`` requests, ``x`` of them bad (Clopper and Pearson).

    Bursts make requests say less: n and x count as n/phi_hat and x/phi_hat. 1.0 when nothing is known.
    """
    if n <= x:
        return 1.0
    from scipy.special import betaincinv  # only who judges waits for it: it is most of what a rollback would load

    return float(betaincinv(x / phi_hat + 1, (n - x) / phi_hat, 1 - alpha))


def small_fault_bound(rounds: Iterable[tuple[float, float]], phi_hat: float, alpha: float) -> float:
    """The error ratio that is ruled out at ``alpha``, one look, by a canary with few requests.

    ``rounds``: requests and errors of each scrape. Where errors come one at a time every request counts. Else every
    scrape with a request counts once, and is bad if one of its requests was: a canary that fails each request with a
    chance of p has an error in such a scrape with a chance of at least p, however its errors cluster within it.
    """
    counted = [(n, x) for n, x in rounds if n > 0]
    if phi_hat < SINGLE_MAX:
        return upper_bound(sum(n for n, _ in counted), sum(x for _, x in counted), phi_hat, alpha)
    return upper_bound(len(counted), sum(x > 0 for _, x in counted), 1.0, alpha)


def requests_needed(n: float, x: float, phi_hat: float, alpha: float, p0: float) -> float | None:
    """How many requests in all would rule out ``p0``, if the bad ratio stays as it is; None if none would.

    With no bad request so far: ln(alpha) / ln(1 - p0) times the dispersion (598 for 5 % and 0.5 %).
    """
    ratio = x / n if n else 0.0
    if ratio >= p0:
        return None
    if not ratio:
        return math.ceil(math.log(alpha) / math.log1p(-p0) * phi_hat)
    low, high = 1.0, 1e3 * phi_hat
    while upper_bound(high, ratio * high, phi_hat, alpha) >= p0:
        low, high = high, 2 * high
        if high > 1e9:
            return None
    return math.ceil(least(lambda n: upper_bound(n, ratio * n, phi_hat, alpha) < p0, low, high, 1, 1e-3))


def least(holds: Callable[[float], bool], low: float, high: float, within: float, share: float = 0.0) -> float:
    """The least number above ``low`` that holds, as ``high`` does: at most ``within`` and a ``share`` too high."""
    while high - low > within + share * low:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
