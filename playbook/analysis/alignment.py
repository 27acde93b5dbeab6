"""From raw samples of many instances to rounds: what all of them together saw since the round before.

- A counter grows per series, then series are summed (`counters`): a restart or a vanished instance never makes a
  negative number.
- A round ends when every canary instance that is alive has reported. It does not wait for stable: that would cost
  seconds; what stable reported since the last round goes with it. It depends on the samples, not on when they were
  fetched: folding a whole bake at once gives the rounds that were seen live, as long as every instance's samples can
  be read before its next scrape. What can be read only later joins the round that is open then.
- A gap makes one long round. Nothing is invented for it.
"""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from playbook.analysis.counters import Batch, Fed, Keys, bucket_of, instance_of
from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries, Labels, has_status, is_error


class Round(NamedTuple):
    """What was seen in one round. Counts are increments; ``dt_s`` is the time since the round before."""

    at_s: float
    dt_s: float
    n: float = 0.0  # canary: requests
    x: float = 0.0  # canary: 5xx
    m: float = 0.0  # stable: requests
    y: float = 0.0  # stable: 5xx
    timed: float = 0.0  # canary: requests with a latency
    slow: float = 0.0  # canary: surely slower than p95_max_s
    maybe_slow: float = 0.0  # canary: not surely faster than p95_max_s (more than slow where no bucket ends there)
    very_slow: float = 0.0  # canary: surely slower than p95_rollback_s
    stable_timed: float = 0.0
    stable_slow: float = 0.0
    stable_very_slow: float = 0.0
    cpu: float = math.nan  # canary: the busiest instance, 0-1; not a number when none reported
    memory: float = math.nan


LATENCY_COUNTS = ("timed", "slow", "maybe_slow", "very_slow", "stable_timed", "stable_slow", "stable_very_slow")
COUNTS = ("n", "x", "m", "y", *LATENCY_COUNTS)
"""The fields of a round that are counts."""


class _Requests(NamedTuple):
    """Where in a scrape of request counters something stands."""

    bad: tuple[int, ...]
    unread: tuple[int, ...]  # it is not known how they ended: good or bad
    instances: frozenset[str]


@functools.lru_cache(maxsize=1024)
def _requests(keys: Keys) -> _Requests:
    said = [dict(key) for key in keys]
    return _Requests(
        tuple(place for place, labels in enumerate(said) if is_error(labels)),
        tuple(place for place, labels in enumerate(said) if not has_status(labels)),
        frozenset(map(instance_of, keys)),
    )


@functools.lru_cache(maxsize=1024)
def _bounds(keys: Keys, slow_s: float, very_slow_s: float) -> tuple[list[int], ...]:
    """Where in a scrape of histograms stand all requests, those surely not slow, those maybe not, those not very slow.

    Without a bucket that ends at a threshold, evidence against the canary takes the next edge above it, and evidence
    for it the next below: never an interpolation.
    """
    found: tuple[list[int], ...] = [], [], [], []
    histograms: dict[Labels, dict[float, int]] = {}
    for place, key in enumerate(keys):
        if bucket := bucket_of(key):
            histograms.setdefault(bucket[0], {})[bucket[1]] = place
    for edges in filter(lambda edges: math.inf in edges, histograms.values()):
        wanted = (
            math.inf,
            min(edge for edge in edges if edge >= slow_s),
            max((edge for edge in edges if edge <= slow_s), default=None),
            min(edge for edge in edges if edge >= very_slow_s),
        )
        for places, edge in zip(found, wanted, strict=True):
            places += [] if edge is None else [edges[edge]]
    return found


@dataclass(slots=True)
class Aligner:
    """The state between two looks. Mutable for speed: `copy` before `feed` keeps the old one."""

    start_s: float
    policy: Policy
    doubtful: tuple[float, float] = (0.0, 0.0)  # the canary's requests and 5xx from before its first scrape
    unread: float = 0.0  # the canary's requests whose status is not known
    unread_keys: frozenset[Labels] = frozenset()  # their series
    live: frozenset[str] = frozenset()  # canary instances of the last round
    reported: frozenset[str] = frozenset()  # canary instances of the round that is open
    opened_s: float = 0.0
    closed_s: float = -math.inf
    latest_s: float = -math.inf  # last sample of the canary's requests
    open: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0.0))  # of the open round
    cpu: float = math.nan
    memory: float = math.nan

    def copy(self) -> "Aligner":
        """One that can be fed without changing this one."""
        return replace(self, open=self.open.copy())

    @property
    def unread_series(self) -> tuple[CounterSeries, ...]:
        """The canary's series whose requests have no known status, without samples."""
        return tuple(CounterSeries(dict(key), ()) for key in self.unread_keys)

    def feed(self, fed: Mapping[str, Fed]) -> list[Round]:
        """The rounds that end with what is new."""
        nothing, events = Fed(), dict[float, dict[str, list[Batch]]]()
        for name in ("requests", "latency"):
            for batch in fed.get(name, nothing).grown:
                events.setdefault(batch.at_s, {}).setdefault(name, []).append(batch)
        for name in ("cpu", "memory"):
            for batch in fed.get(name, nothing).samples:
                if batch.is_canary:
                    events.setdefault(batch.at_s, {})[name] = [batch]
        rounds: list[Round] = []
        for at_s in sorted(events):
            self._at(at_s, events[at_s], rounds)
        return rounds

    def _at(self, at_s: float, scraped: Mapping[str, Sequence[Batch]], rounds: list[Round]) -> None:
        """Take in everything that was scraped at one instant."""
        requests = scraped.get("requests", ())
        here = next((_requests(one.keys).instances for one in requests if one.is_canary), frozenset[str]())
        late = at_s > self.opened_s + 1.5 * self.policy.scrape_s
        if self.reported and (late or not here.isdisjoint(self.reported)):
            self._close(rounds)
        is_during = at_s > self.start_s
        if is_during:
            self._count(requests)
            self._time(scraped.get("latency", ()))
            for batch in scraped.get("cpu", ()):
                self.cpu = max(batch.values) if math.isnan(self.cpu) else max(self.cpu, *batch.values)
            for batch in scraped.get("memory", ()):
                self.memory = max(batch.values) if math.isnan(self.memory) else max(self.memory, *batch.values)
        if not here:
            return
        self.latest_s = max(self.latest_s, at_s)
        if not is_during:
            self.live |= here
            return
        if not self.reported:
            self.opened_s = at_s
        self.reported |= here
        if self.reported >= self.live:
            self._close(rounds)

    def _count(self, requests: Iterable[Batch]) -> None:
        """Add what the request counters grew by."""
        for _, is_canary, keys, grown, doubtful in requests:
            where = _requests(keys)
            n, x = ("n", "x") if is_canary else ("m", "y")
            self.open[n] += sum(grown)
            self.open[x] += _sum(grown, where.bad)
            if doubtful:
                before_n, before_x = self.doubtful
                self.doubtful = before_n + sum(doubtful), before_x + _sum(doubtful, where.bad)
            if is_canary and where.unread:
                self.unread += _sum(grown, where.unread) + (_sum(doubtful, where.unread) if doubtful else 0.0)
                self.unread_keys = self.unread_keys.union(keys[place] for place in where.unread)

    def _time(self, latency: Iterable[Batch]) -> None:
        """Add what the histograms grew by."""
        for _, is_canary, keys, grown, _ in latency:
            places = _bounds(keys, self.policy.p95_max_s, self.policy.p95_rollback_s)
            timed, *under = (_sum(grown, one) for one in places)
            slow, maybe, very = (min(timed, max(0.0, timed - within)) for within in under)
            if is_canary:
                more = {"timed": timed, "slow": slow, "maybe_slow": maybe, "very_slow": very}
            else:
                more = {"stable_timed": timed, "stable_slow": slow, "stable_very_slow": very}
            for name, count in more.items():
                self.open[name] += count

    def _close(self, rounds: list[Round]) -> None:
        """End the round that is open."""
        begun = max(self.closed_s, self.start_s)
        at_s = max(begun, self.latest_s)
        rounds.append(Round(at_s, at_s - begun, **self.open, cpu=self.cpu, memory=self.memory))
        self.closed_s = at_s
        self.live, self.reported = self.reported, frozenset()
        self.open = dict.fromkeys(COUNTS, 0.0)
        self.cpu = self.memory = math.nan


def _sum(values: Sequence[float], places: Iterable[int]) -> float:
    return sum([values[place] for place in places])
