"""From raw samples of many instances to rounds: what all of them together saw since the round before.

- A counter grows per series, then series are summed (`increments`): a restart or a vanished instance never makes a
  negative number.
- A round ends when every canary instance that is alive has reported. It does not wait for stable: that would cost
  seconds; what stable reported since the last round goes with it. It depends on the samples, not on when they were
  fetched: folding a whole bake at once gives the rounds that were seen live, as long as every instance's samples can
  be read before its next scrape. What can be read only later joins the round that is open then.
- A gap makes one long round. Nothing is invented for it.
- What is no number, and what has no time or one far ahead of the clock, is no sample.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from playbook.analysis.increments import COUNTER_MAX, Counter, Increments
from playbook.analysis.policy import Policy
from playbook.analysis.samples import INSTANCE_LABEL, CounterSeries, Observation, edge_of, has_status, is_error

_CANARY, _STABLE, _CANARY_LATENCY, _STABLE_LATENCY, _CPU, _MEMORY = range(6)
_Key = tuple[int, frozenset[tuple[str, str]]]


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


class _Series(NamedTuple):
    """What a series is, worked out once. ``slots``: which bounds of its histogram this bucket gives."""

    key: _Key
    kind: int
    instance: str
    counter: Counter
    bad: bool = False
    unread: bool = False  # requests whose status is not known: good or bad
    group: _Key | None = None
    slots: tuple[int, ...] = ()


_Batch = list[tuple[_Series, float]]  # what was scraped at one instant

_TOTAL, _SLOW, _MAYBE, _VERY = range(4)


@dataclass(slots=True)
class Aligner:
    """The state between two looks. Mutable for speed: `copy` before `feed` keeps the old one."""

    start_s: float
    policy: Policy
    series: dict[_Key, _Series] = field(default_factory=dict, compare=False)  # what was worked out about them
    edges: dict[_Key, frozenset[float]] = field(default_factory=dict, compare=False)  # buckets of each histogram
    idle: dict[int, frozenset[str | None]] = field(default_factory=dict, compare=False)  # edges that no line needs
    seen: dict[_Key, float] = field(default_factory=dict)  # time of the last sample
    requests: Increments = field(default_factory=lambda: Increments(0.0))
    buckets: dict[_Key, list[float]] = field(default_factory=dict)  # last bounds of a histogram
    replaced: frozenset[_Key] = frozenset()  # histograms whose place another one took
    doubtful: tuple[float, float] = (0.0, 0.0)  # the canary's requests and 5xx from before its first scrape
    unread: float = 0.0  # the canary's requests whose status is not known
    live: frozenset[str] = frozenset()  # canary instances of the last round
    reported: frozenset[str] = frozenset()  # canary instances of the round that is open
    opened_s: float = 0.0
    closed_s: float = -math.inf
    latest_s: float = -math.inf  # last sample of the canary's requests
    open: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0.0))  # of the open round
    cpu: float = math.nan
    memory: float = math.nan

    @classmethod
    def of(cls, start_s: float, policy: Policy) -> "Aligner":
        """One that has seen nothing yet."""
        return cls(start_s, policy, requests=Increments(2 * policy.scrape_s))

    def copy(self) -> "Aligner":
        """One that can be fed without changing this one. What a series is, is shared: it is replaced, never changed."""
        return replace(
            self,
            seen=self.seen.copy(),
            requests=self.requests.copy(),
            buckets=self.buckets.copy(),
            open=self.open.copy(),
        )

    @property
    def unread_series(self) -> tuple[CounterSeries, ...]:
        """The canary's series whose requests have no known status, without samples."""
        return tuple(CounterSeries(dict(what.key[1]), ()) for what in self.series.values() if what.unread)

    def feed(self, observation: Observation) -> list[Round]:
        """The rounds that end with what is new in this observation. What was seen before is skipped."""
        canary, stable = observation.canary, observation.stable
        events: dict[float, _Batch] = {}
        ahead_s = observation.now_s + self.policy.freshness_s
        seen = self.seen
        for kind, group in (
            (_CANARY, canary.requests),
            (_STABLE, stable.requests),
            (_CANARY_LATENCY, canary.latency),
            (_STABLE_LATENCY, stable.latency),
            (_CPU, canary.cpu),
            (_MEMORY, canary.memory),
        ):
            idle = self.idle.get(kind)
            for one in group:
                if idle and one.labels.get("le") in idle:
                    continue
                key = (kind, one.key)
                what = self.series.get(key)
                if what is None:
                    self._learn(kind, group)
                    what = self.series[key]
                samples = one.samples
                if not samples or not (what.group is None or what.slots):
                    continue
                at_s, value = samples[-1]
                before_s = seen.get(what.key, -math.inf)
                if at_s <= before_s:
                    continue
                is_one = len(samples) == 1 or samples[-2][0] <= before_s
                if is_one and -math.inf < at_s <= ahead_s and -COUNTER_MAX <= value <= COUNTER_MAX:  # as usual
                    seen[what.key] = at_s
                    events.setdefault(at_s, []).append((what, value))
                else:
                    self._collect(one, what, events, ahead_s)
        rounds: list[Round] = []
        for at_s in sorted(events):
            self._at(at_s, events[at_s], rounds)
        return rounds

    def _collect(self, one: CounterSeries, what: _Series, events: dict[float, _Batch], ahead_s: float) -> None:
        """File the samples that are new by their time; samples rise in time, so look from the end."""
        samples = one.samples
        index = len(samples)
        seen = self.seen.get(what.key, -math.inf)
        while index and (not samples[index - 1][0] <= seen or math.isinf(seen)):
            index -= 1
        top = COUNTER_MAX if what.kind < _CPU else math.inf
        for at_s, value in samples[index:]:
            if not seen < at_s <= ahead_s:
                continue
            self.seen[what.key] = seen = at_s
            if math.isfinite(value) and abs(value) <= top:
                events.setdefault(at_s, []).append((what, value))

    def _learn(self, kind: int, group: Iterable[CounterSeries]) -> None:
        """Work out what the series of this kind are. A histogram's buckets are born together, so all are here."""
        edges = dict(self.edges)
        names: dict[_Key, tuple[CounterSeries, _Key | None, float | None]] = {}
        for one in group:
            of: _Key | None = None
            edge = None
            if kind in (_CANARY_LATENCY, _STABLE_LATENCY):
                of = (kind, frozenset(item for item in one.labels.items() if item[0] != "le"))
                edge = edge_of(one.labels)
                if edge is not None:  # a histogram's _sum or _count is no bucket
                    edges[of] = edges.get(of, frozenset()) | {edge}
            names[kind, one.key] = one, of, edge
        learnt = {}
        for key, (one, of, edge) in names.items():
            slots = self._slots(edge, edges[of]) if of and edge is not None else ()
            instance = one.labels.get(INSTANCE_LABEL, "")
            counter = Counter(key, kind == _CANARY, instance, (kind, instance, one.labels.get("status")))
            unread = kind == _CANARY and not has_status(one.labels)
            learnt[key] = _Series(key, kind, instance, counter, is_error(one.labels), unread, of, slots)
        self.series, self.edges = self.series | learnt, edges
        if kind in (_CANARY_LATENCY, _STABLE_LATENCY):
            known = [(dict(what.key[1]).get("le"), what.slots) for what in self.series.values() if what.kind == kind]
            self.idle = self.idle | {kind: frozenset(le for le, _ in known) - {le for le, slots in known if slots}}

    def _slots(self, edge: float, edges: frozenset[float]) -> tuple[int, ...]:
        """Which bounds this bucket gives. Without a bucket that ends at a threshold, evidence against the canary takes
        the next edge above it, and evidence for it the next below: never an interpolation.
        """
        slow, very = self.policy.p95_max_s, self.policy.p95_rollback_s
        wanted = (
            math.inf,
            min((e for e in edges if e >= slow), default=math.inf),
            max((e for e in edges if e <= slow), default=-math.inf),
            min((e for e in edges if e >= very), default=math.inf),
        )
        return tuple(slot for slot, bound in enumerate(wanted) if bound == edge)

    def _at(self, at_s: float, batch: _Batch, rounds: list[Round]) -> None:
        """Take in everything that was scraped at one instant."""
        during = at_s > self.start_s
        here = {what.instance for what, _ in batch if what.kind == _CANARY}
        late = at_s > self.opened_s + 1.5 * self.policy.scrape_s
        if self.reported and (late or not here.isdisjoint(self.reported)):
            self._close(rounds)
        bounds: dict[_Key, list[float]] = {}
        counted: list[tuple[Counter, float]] = []
        whats: list[_Series] = []
        for what, value in batch:
            if what.kind <= _STABLE:
                counted.append((what.counter, value))
                whats.append(what)
            elif what.group is not None:
                found = bounds.setdefault(what.group, [math.nan, math.nan, math.nan, math.nan])
                for slot in what.slots:
                    found[slot] = value
            elif during and what.kind == _CPU:
                self.cpu = value if math.isnan(self.cpu) else max(self.cpu, value)
            elif during:
                self.memory = value if math.isnan(self.memory) else max(self.memory, value)
        if bounds:
            self._histograms(at_s, bounds, during)
        if counted:
            self._requests(at_s, counted, whats, during)
        if not here:
            return
        self.latest_s = max(self.latest_s, at_s)
        if not during:
            self.live |= here
            return
        if not self.reported:
            self.opened_s = at_s
        self.reported |= here
        if self.reported >= self.live:
            self._close(rounds)

    def _requests(self, at_s: float, counted: list[tuple[Counter, float]], whats: list[_Series], during: bool) -> None:
        """Add what the request counters grew by."""
        for (counter, _), what, grown in zip(counted, whats, self.requests.take(at_s, counted), strict=True):
            if not during:
                continue
            is_bad = what.bad
            if what.unread:
                self.unread += grown.by + grown.doubtful
            requests, errors = ("n", "x") if counter.is_canary else ("m", "y")
            self.open[requests] += grown.by
            if is_bad:
                self.open[errors] += grown.by
            if grown.doubtful:
                n, x = self.doubtful
                self.doubtful = n + grown.doubtful, x + (grown.doubtful if is_bad else 0.0)

    def _histograms(self, at_s: float, bounds: dict[_Key, list[float]], during: bool) -> None:
        """Add what histograms grew by. One that came with a bucket missing is left for the next scrape."""
        self.replaced -= bounds.keys()
        new: dict[tuple[int, str], list[list[float]]] = defaultdict(list)
        for group, found in bounds.items():
            if math.isnan(found[_MAYBE]) and min(self.edges[group]) > self.policy.p95_max_s:
                found[_MAYBE] = 0.0
            if any(map(math.isnan, found)):
                continue
            before = self.buckets.get(group)
            self.buckets[group] = found
            if before is not None:
                self._grow(group[0], found, before, during)
                continue
            instance = dict(group[1]).get(INSTANCE_LABEL, "")
            if self.requests.is_born_since(group[0] == _CANARY_LATENCY, instance, at_s):
                new[group[0], instance].append(found)
        for twin, born in new.items():
            gone = [
                group
                for group in self.buckets
                if group not in bounds
                and group not in self.replaced
                and (group[0], dict(group[1]).get(INSTANCE_LABEL, "")) == twin
            ]
            self.replaced |= set(gone)
            before = [math.fsum(column) for column in zip(*(self.buckets[group] for group in gone), strict=True)]
            total = [math.fsum(column) for column in zip(*born, strict=True)]
            self._grow(twin[0], total, before or [0.0] * 4, during)

    def _grow(self, kind: int, found: list[float], before: list[float], during: bool) -> None:
        """Add what a histogram grew by. A total that fell started again."""
        if not during:
            return
        if found[_TOTAL] < before[_TOTAL]:
            before = [0.0] * 4
        timed = found[_TOTAL] - before[_TOTAL]
        slow, maybe, very = (min(timed, max(0.0, timed - (found[s] - before[s]))) for s in (_SLOW, _MAYBE, _VERY))
        if kind == _CANARY_LATENCY:
            grown = {"timed": timed, "slow": slow, "maybe_slow": maybe, "very_slow": very}
        else:
            grown = {"stable_timed": timed, "stable_slow": slow, "stable_very_slow": very}
        for name, value in grown.items():
            self.open[name] += value

    def _close(self, rounds: list[Round]) -> None:
        """End the round that is open."""
        begun = max(self.closed_s, self.start_s)
        at_s = max(begun, self.latest_s)
        rounds.append(Round(at_s, at_s - begun, **self.open, cpu=self.cpu, memory=self.memory))
        self.closed_s = at_s
        self.live, self.reported = self.reported, frozenset()
        self.open = dict.fromkeys(COUNTS, 0.0)
        self.cpu = self.memory = math.nan
