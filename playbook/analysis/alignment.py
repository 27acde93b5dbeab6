"""From raw samples of many instances to rounds: what all of them together saw since the round before.

- A counter grows per series, then series are summed (`counters`): a restart or a vanished instance never makes a
  negative number.
- A round ends when every canary instance that is alive has reported. It does not wait for stable: that would cost
  seconds; what stable reported since the last round goes with it. It depends on the samples, not on when they were
  fetched: folding a whole bake at once gives the rounds that were seen live, as long as every instance's samples can
  be read before its next scrape. What can be read only later joins the round that is open then.
- A gap makes one long round. Nothing is invented for it.
"""

import bisect
import functools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from playbook.analysis.counters import Batch, Fed, Keys, edges_of
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Labels


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


CANARY_LATENCY = ("timed", "slow", "maybe_slow", "very_slow")
STABLE_LATENCY = ("stable_timed", "stable_slow", "stable_very_slow")
LATENCY_COUNTS = dict.fromkeys(CANARY_LATENCY, "timed") | dict.fromkeys(STABLE_LATENCY, "stable_timed")
"""Each, and what it is a part of."""
LEVELS = ("cpu", "memory")
COUNTS = ("n", "x", "m", "y", *LATENCY_COUNTS)  # the fields of a round that are counts


@functools.lru_cache(maxsize=1024)
def _requests(keys: Keys) -> tuple[list[int], list[int]]:
    """Where in a scrape of request counters stand the bad ones, and those of which it is not known."""
    places = list(enumerate(keys))
    return [place for place, key in places if key.failed], [place for place, key in places if key.failed is None]


@functools.lru_cache(maxsize=1024)
def _bounds(keys: Keys, slow_s: float, very_slow_s: float) -> tuple[list[int], ...]:
    """Where in a scrape of histograms stand all requests, those surely not slow, those maybe not, and those not
    very slow."""
    found: tuple[list[int], ...] = [], [], [], []
    wanted = {one: _wanted(edges, slow_s, very_slow_s) for one, edges in edges_of(keys).items()}
    for place, key in enumerate(keys):
        if key.histogram is not None:
            for which in wanted[key.histogram].get(key.edge, ()):
                found[which].append(place)
    return found


@functools.lru_cache(maxsize=1024)
def _wanted(edges: frozenset[float], slow_s: float, very_slow_s: float) -> dict[float | None, list[int]]:
    """Which edges of a histogram `_bounds` looks for, and as what.

    Without a bucket that ends at a threshold, evidence against the canary takes the next edge above it, and evidence
    for it the next below: never an interpolation.
    """
    found: dict[float | None, list[int]] = defaultdict(list)
    if math.inf in edges:
        slow, very_slow = (min(edge for edge in edges if edge >= line) for line in (slow_s, very_slow_s))
        maybe_slow = max((edge for edge in edges if edge <= slow_s), default=None)
        for which, edge in enumerate((math.inf, slow, maybe_slow, very_slow)):
            found[edge].append(which)
    return found


@dataclass
class Aligner:
    """The state between two looks. Mutable for speed: feed one that is `unshared`."""

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
    open: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0.0))  # the open round

    def feed(self, fed: Mapping[str, Fed]) -> list[Round]:
        """The rounds that end with what is new."""
        new = [(name, one) for name in ("requests", "latency") if name in fed for one in fed[name].grown]
        new += [(name, one) for name in LEVELS if name in fed for one in fed[name].samples if one.is_canary]
        ends = self._ends([one for name, one in new if name == "requests" and one.is_canary])
        if self.reported and max((max(one.at) for _, one in new), default=-math.inf) > self._late_s:
            ends.append(self._end(self._late_s))
        number = functools.partial(bisect.bisect_left, [self.start_s, *(until_s for until_s, _, _ in ends)])
        stretches: list[list[tuple[str, bool, Keys, Sequence[float]]]] = [[] for _ in range(len(ends) + 2)]
        for name, batch in new:
            for place, part in batch.parts(number).items():
                stretches[place].append((name, batch.is_canary, *part))
            if name == "requests" and batch.doubtful:
                self._doubt(batch)
        rounds: list[Round] = []
        for place, stretch in enumerate(stretches[1:]):  # the first one is from before the bake
            for counted in stretch:
                self._count(*counted)
            if place < len(ends):
                _, at_s, dt_s = ends[place]
                rounds.append(Round(at_s, dt_s, **self.open | self._slow()))
                self.open = dict.fromkeys(COUNTS, 0.0)
        return rounds

    def _ends(self, requests: Iterable[Batch]) -> list[tuple[float, float, float]]:
        """The rounds that end with these scrapes of the canary: until when, their time, their seconds."""
        scraped: dict[float, set[str]] = defaultdict(set)
        for batch in requests:
            for at_s, instance in set(zip(batch.at, [key.instance for key in batch.keys], strict=True)):
                scraped[at_s].add(instance)
        ends = []
        for at_s, here in sorted(scraped.items()):
            if self.reported and at_s > self._late_s:
                ends.append(self._end(self._late_s))
            elif not here.isdisjoint(self.reported):
                ends.append(self._end(math.nextafter(at_s, -math.inf)))
            self.latest_s = max(self.latest_s, at_s)
            if at_s <= self.start_s:
                self.live |= here
                continue
            self.opened_s = self.opened_s if self.reported else at_s
            self.reported |= here
            if self.reported >= self.live:
                ends.append(self._end(at_s))
        return ends

    @property
    def _late_s(self) -> float:
        """Until when the open round waits for its instances."""
        return self.opened_s + 1.5 * self.policy.scrape_s

    def _end(self, until_s: float) -> tuple[float, float, float]:
        """End the round that is open."""
        begun = max(self.closed_s, self.start_s)
        self.closed_s = max(begun, self.latest_s)
        self.live, self.reported = self.reported, frozenset()
        return until_s, self.closed_s, self.closed_s - begun

    def _slow(self) -> dict[str, float]:
        """The slow requests of the round that is open: at least none, and at most all."""
        return {name: min(self.open[every], max(0.0, self.open[name])) for name, every in LATENCY_COUNTS.items()}

    def _doubt(self, batch: Batch) -> None:
        """Keep apart what was counted before the first scrapes in the bake."""
        found = [
            (batch.keys[place], value) for place, value in batch.doubtful.items() if batch.at[place] > self.start_s
        ]
        bad = sum(value for key, value in found if key.failed)
        self.doubtful = self.doubtful[0] + sum(value for _, value in found), self.doubtful[1] + bad
        self.unread += sum(value for key, value in found if key.failed is None)

    def _count(self, name: str, is_canary: bool, keys: Keys, values: Sequence[float]) -> None:
        """Add what came of a query in the open round."""
        if name in LEVELS:
            self.open[name] = max(self.open.get(name, -math.inf), *values)
        elif name == "requests":
            bad, unread = _requests(keys)
            n, x = ("n", "x") if is_canary else ("m", "y")
            self.open[n] += sum(values)
            self.open[x] += _sum(values, bad)
            if is_canary and unread:
                self.unread += _sum(values, unread)
                self.unread_keys = self.unread_keys.union(keys[place] for place in unread)
        else:
            places = _bounds(keys, self.policy.p95_max_s, self.policy.p95_rollback_s)
            timed, *within = (_sum(values, one) for one in places)
            counts = timed, *(timed - one for one in within)
            for kind, count in zip(CANARY_LATENCY, counts, strict=True):
                kind = kind if is_canary else f"stable_{kind}"
                if kind in self.open:
                    self.open[kind] += count


def _sum(values: Sequence[float], places: Iterable[int]) -> float:
    return sum([values[place] for place in places])
