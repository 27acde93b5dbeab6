"""From raw samples of many instances to rounds: what all of them together saw since the round before.

- A counter grows per series, then series are summed: a restart or a vanished instance never makes a negative number.
- A counter of an instance that falls says that the instance started again: every other one of its counters did too,
  also those that are not there yet.
- A series is counted from its first sample on. It is counted from zero where it was surely born during the bake: its
  instance had been seen without it, or the canary without the instance. An instance of stable may be an old one that
  was away: its first sample is where it is counted from.
- A round ends when every canary instance that is alive has reported. It does not wait for stable: that would cost
  seconds; what stable reported since the last round goes with it. It depends on the samples, not on when they were
  fetched: folding a whole bake at once gives the rounds that were seen live, as long as every instance's samples can
  be read before its next scrape. What can be read only later joins the round that is open then.
- A gap makes one long round. Nothing is invented for it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from playbook.analysis.policy import Policy
from playbook.analysis.samples import INSTANCE_LABEL, CounterSeries, Observation, increment, is_error

_CANARY, _STABLE, _CANARY_LATENCY, _STABLE_LATENCY, _CPU, _MEMORY = range(6)
_Key = tuple[int, frozenset[tuple[str, str]]]


class Round(NamedTuple):
    """What was seen in one round. Counts are increments; ``dt_s`` is the time since the round before.

    The counts stand together from the third field on, those of latency last: `levels.Recent` goes by place.
    """

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


class _Series(NamedTuple):
    """What a series is, worked out once. ``slots``: which bounds of its histogram this bucket gives."""

    key: _Key
    kind: int
    instance: str
    bad: bool = False
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
    values: dict[_Key, float] = field(default_factory=dict)  # last value of a counter
    buckets: dict[_Key, list[float]] = field(default_factory=dict)  # last bounds of a histogram
    first_seen: dict[tuple[bool, str | None], float] = field(default_factory=dict)  # instance; None: the revision
    live: frozenset[str] = frozenset()  # canary instances of the last round
    reported: frozenset[str] = frozenset()  # canary instances of the round that is open
    opened_s: float = 0.0
    closed_s: float = -math.inf
    latest_s: float = -math.inf  # last sample of the canary's requests
    open: list[float] = field(default_factory=lambda: [0.0] * 11)
    cpu: float = math.nan
    memory: float = math.nan

    def copy(self) -> "Aligner":
        """One that can be fed without changing this one. What a series is, is shared: it never changes."""
        return Aligner(
            self.start_s,
            self.policy,
            self.series,  # these three are replaced, never changed in place
            self.edges,
            self.idle,
            self.seen.copy(),
            self.values.copy(),
            self.buckets.copy(),
            self.first_seen.copy(),
            self.live,
            self.reported,
            self.opened_s,
            self.closed_s,
            self.latest_s,
            self.open.copy(),
            self.cpu,
            self.memory,
        )

    def feed(self, observation: Observation) -> list[Round]:
        """The rounds that end with what is new in this observation. What was seen before is skipped."""
        canary, stable = observation.canary, observation.stable
        events: dict[float, _Batch] = {}
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
                key = (kind, frozenset(one.labels.items()))
                what = self.series.get(key)
                if what is None:
                    self._learn(kind, group)
                    what = self.series[key]
                if what.group is None or what.slots:
                    self._collect(one, what, events)
        rounds: list[Round] = []
        for at_s in sorted(events):
            self._at(at_s, events[at_s], rounds)
        return rounds

    def _collect(self, one: CounterSeries, what: _Series, events: dict[float, _Batch]) -> None:
        """File the samples that are new by their time; samples rise in time, so look from the end."""
        samples = one.samples
        index = len(samples)
        seen = self.seen.get(what.key, -math.inf)
        while index and samples[index - 1][0] > seen:
            index -= 1
        if index == len(samples):
            return
        self.seen[what.key] = samples[-1][0]
        for at_s, value in samples[index:]:
            if math.isfinite(value):
                events.setdefault(at_s, []).append((what, value))

    def _learn(self, kind: int, group: Iterable[CounterSeries]) -> None:
        """Work out what the series of this kind are. A histogram's buckets are born together, so all are here."""
        edges = dict(self.edges)
        names: dict[_Key, tuple[CounterSeries, _Key | None]] = {}
        for one in group:
            of: _Key | None = None
            if kind in (_CANARY_LATENCY, _STABLE_LATENCY):
                of = (kind, frozenset(item for item in one.labels.items() if item[0] != "le"))
                if "le" in one.labels:  # a histogram's _sum or _count is no bucket
                    edges[of] = edges.get(of, frozenset()) | {float(one.labels["le"])}
            names[kind, frozenset(one.labels.items())] = one, of
        learnt = {}
        for key, (one, of) in names.items():
            slots = self._slots(float(one.labels["le"]), edges[of]) if of and "le" in one.labels else ()
            learnt[key] = _Series(key, kind, one.labels.get(INSTANCE_LABEL, ""), is_error(one.labels), of, slots)
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
        self._forget_restarted(batch)
        bounds: dict[_Key, list[float]] = {}
        is_new = False
        for what, value in batch:
            if what.kind <= _STABLE:
                before = self.values.get(what.key)
                self.values[what.key] = value
                is_new |= before is None
                if during:
                    grown = (
                        increment(value, before)
                        if before is not None
                        else self._from_zero(what.kind, what.instance, at_s) * value
                    )
                    self.open[2 * what.kind] += grown
                    if what.bad:
                        self.open[2 * what.kind + 1] += grown
            elif what.group is not None:
                found = bounds.setdefault(what.group, [math.nan, math.nan, math.nan, math.nan])
                for slot in what.slots:
                    found[slot] = value
            elif during and what.kind == _CPU:
                self.cpu = value if math.isnan(self.cpu) else max(self.cpu, value)
            elif during:
                self.memory = value if math.isnan(self.memory) else max(self.memory, value)
        for group, found in bounds.items():
            self._histogram(at_s, group, found, during)
        if is_new:
            self._note(at_s, batch)
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

    def _forget_restarted(self, batch: _Batch) -> None:
        """The request counters of an instance that started again begin at zero, also those that have not come yet."""
        fallen = {
            (what.kind, what.instance)
            for what, value in batch
            if what.kind <= _STABLE and value < self.values.get(what.key, -math.inf)
        }
        if fallen:
            self.values = {
                key: value
                for key, value in self.values.items()
                if (self.series[key].kind, self.series[key].instance) not in fallen
            }

    def _histogram(self, at_s: float, group: _Key, found: list[float], during: bool) -> None:
        """Add what one histogram grew by. One that came with a bucket missing is left for the next scrape."""
        total = found[_TOTAL]
        if math.isnan(found[_MAYBE]) and min(self.edges[group]) > self.policy.p95_max_s:
            found[_MAYBE] = 0.0
        if any(map(math.isnan, found)):
            return
        before = self.buckets.get(group)
        self.buckets[group] = found
        if not during:
            return
        if before is None:
            instance = dict(group[1]).get(INSTANCE_LABEL, "")
            if not self._from_zero(group[0], instance, at_s):
                return
            before = [0.0] * 4
        elif total < before[_TOTAL]:
            before = [0.0] * 4
        timed = total - before[_TOTAL]
        slow, maybe, very = (max(0.0, timed - (found[s] - before[s])) for s in (_SLOW, _MAYBE, _VERY))
        grown = (timed, slow, maybe, very) if group[0] == _CANARY_LATENCY else (timed, slow, very)
        first = 4 if group[0] == _CANARY_LATENCY else 8
        for offset, value in enumerate(grown):
            self.open[first + offset] += value

    def _from_zero(self, kind: int, instance: str, at_s: float) -> bool:
        """Whether a series that is seen for the first time was born since the bake began."""
        canary = kind in (_CANARY, _CANARY_LATENCY)
        if (canary, instance) in self.first_seen:
            return True
        since = self.first_seen.get((canary, None))
        return canary and since is not None and at_s - since > 2 * self.policy.scrape_s

    def _note(self, at_s: float, batch: _Batch) -> None:
        """Remember when each revision and instance was first scraped."""
        for what, _ in batch:
            if what.kind <= _STABLE and (what.kind == _CANARY, what.instance) not in self.first_seen:
                self.first_seen[what.kind == _CANARY, what.instance] = at_s
                self.first_seen.setdefault((what.kind == _CANARY, None), at_s)

    def _close(self, rounds: list[Round]) -> None:
        """End the round that is open."""
        begun = max(self.closed_s, self.start_s)
        at_s = max(begun, self.latest_s)
        rounds.append(Round._make((at_s, at_s - begun, *self.open, self.cpu, self.memory)))
        self.closed_s = at_s
        self.live, self.reported = self.reported, frozenset()
        self.open = [0.0] * 11
        self.cpu = self.memory = math.nan
