"""What is new in the samples of a query, and what its counters grew by: restarts, births and relabelled series.

- A counter that fell started again: so did every other counter of its instance, also those that are not there yet.
- A series that is new on an instance that was scraped before was born since: it counts from zero. So does an instance
  that appears long after its revision. An instance of stable may be an old one that was away: its first value is where
  it is counted from.
- A series that takes the place of another one of its instance is that one with other labels: it goes on from there.
- What the canary's first instances had counted before their first scrape is in doubt: it may be users' requests, or
  ours from before the bake. It is kept apart.
- A histogram that came with a bucket missing waits for its next scrape.

Every series of every instance comes here at every look, so what is usual takes the shortest way: each instance was
scraped at an instant of its own, and known counters did not fall. Then the instances are one batch, because none
matters to another. Else what is new is taken in its order in time.
"""

import functools
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import sub
from typing import NamedTuple

from playbook.analysis.samples import INSTANCE_LABEL, CounterSeries, Labels, Observation, Sides, edge_of, increment

Keys = tuple[Labels, ...]
Scraped = tuple[list[Labels], list[float], list[float]]  # series, and the time and value of a sample of each
COUNTER_MAX = 2.0**53  # a float counts no further. A value above it is no count.


class Batch(NamedTuple):
    """What was scraped of one side, of each instance at one instant. ``values``: those of the samples, or what the
    counters grew by."""

    at_s: float  # unix seconds; where there are several instants: the first
    is_canary: bool
    keys: Keys
    values: Sequence[float]
    doubtful: Sequence[float] = ()  # what each counter had counted before its first scrape, if that may not count
    at: Mapping[str, float] = {}  # the instant of each instance, where there are several

    def parts(self, number: Callable[[float], int], other: float = 0.0) -> dict[int, Sequence[float]]:
        """The values by the number of their instant, which rises with it; ``other`` in the place of those with another
        number."""
        first = number(self.at_s)
        if not self.at or number(max(self.at.values())) == first:
            return {first: self.values}
        of = {instance: number(at_s) for instance, at_s in self.at.items()}
        numbers = list(map(of.__getitem__, instances_of(self.keys)))
        return {
            one: [value if mine == one else other for value, mine in zip(self.values, numbers, strict=True)]
            for one in set(of.values())
        }


class Fed(NamedTuple):
    """What is new of one query, of each instance in time."""

    samples: Sequence[Batch] = ()
    grown: Sequence[Batch] = ()  # where its series are counters


@functools.lru_cache(maxsize=1 << 16)
def instance_of(key: Labels) -> str:
    """The instance of a series."""
    return dict(key).get(INSTANCE_LABEL, "")


@functools.lru_cache(maxsize=1024)
def instances_of(keys: Keys) -> tuple[str, ...]:
    """The instance of each of these series."""
    return tuple(map(instance_of, keys))


@functools.lru_cache(maxsize=1 << 16)
def bucket_of(key: Labels) -> tuple[Labels, float] | None:
    """The histogram of a series and its upper edge; None where it is no bucket."""
    edge = edge_of(dict(key))
    return None if edge is None else (frozenset(item for item in key if item[0] != "le"), edge)


@functools.lru_cache(maxsize=1 << 16)
def _twin_of(key: Labels) -> tuple[str | None, ...]:
    """What a series has in common with the one that may take its place."""
    said = dict(key)
    names = ("le",) if "le" in said else ("status", "response_code_class")
    return instance_of(key), *map(said.get, names)


@dataclass(slots=True)
class Side:
    """The canary or stable in the answers to one query. Mutable for speed: `copy` keeps the old one."""

    is_canary: bool
    young_s: float  # an instance that appears later than this after its revision was born since
    seen: dict[Labels, float] = field(default_factory=dict)  # time of the last sample
    values: dict[Labels, float] = field(default_factory=dict)  # of the counters
    replaced: frozenset[Labels] = frozenset()  # counters whose place others took
    first_seen: dict[str | None, float] = field(default_factory=dict)  # instance; None: the revision
    falls: dict[str, int] = field(default_factory=dict)  # scrapes at which an instance's counters fell
    edges: frozenset[float] = frozenset()  # of all histograms
    buckets: dict[Labels, frozenset[float]] = field(default_factory=dict)  # those of each; replaced, never changed
    whole: frozenset[Keys] = field(default=frozenset(), compare=False)  # scrapes that have all of these buckets
    latest_s: float = -math.inf

    def copy(self) -> "Side":
        """One that can be fed without changing this one."""
        return Side(
            self.is_canary,
            self.young_s,
            self.seen.copy(),
            self.values.copy(),
            self.replaced,
            self.first_seen.copy(),
            self.falls.copy(),
            self.edges,
            self.buckets,
            self.whole,
            self.latest_s,
        )

    def new(self, group: Iterable[CounterSeries], ahead_s: float) -> list[Batch]:
        """The samples that are new: the first of each series, the second, and so on; none later than ``ahead_s``, and
        none that is no number."""
        seen, is_rising, never_s, least, most = self.seen, True, -math.inf, -COUNTER_MAX, COUNTER_MAX
        keys, times, values = list[Labels](), list[float](), list[float]()
        layers = [(keys, times, values)]
        for one in group:
            samples, key = one.samples, one.key
            if not samples:
                continue
            at_s, value = samples[-1]
            before_s = seen.get(key, never_s)
            if at_s <= before_s:
                continue
            if len(samples) == 1 or samples[-2][0] <= before_s:
                if never_s < at_s <= ahead_s and least <= value <= most:
                    keys.append(key)
                    times.append(at_s)
                    values.append(value)
                    seen[key] = at_s
                continue
            after = [
                one for one in _after(samples, before_s) if never_s < one[0] <= ahead_s and least <= one[1] <= most
            ]
            is_rising = is_rising and all(one[0] < other[0] for one, other in itertools.pairwise(after))
            layers += [([], [], []) for _ in range(len(after) - len(layers))]
            for layer, (at_s, value) in zip(layers, after, strict=False):
                layer[0].append(key)
                layer[1].append(at_s)
                layer[2].append(value)
                seen[key] = at_s
        if not keys:
            return []
        self.latest_s = max(self.latest_s, *(max(times) for _, times, _ in layers))
        batches = [self._batch(*one) for one in layers]
        return self._in_time(layers) if not is_rising or None in batches else [one for one in batches if one]

    def _batch(self, keys: list[Labels], times: list[float], values: list[float]) -> Batch | None:
        """These samples as one batch; None where those of an instance are of several instants."""
        first_s, known = min(times), tuple(keys)
        if first_s == max(times):
            return Batch(first_s, self.is_canary, known, values)
        instances = instances_of(known)
        at = dict(zip(instances, times, strict=True))
        return (
            Batch(first_s, self.is_canary, known, values, (), at)
            if [*map(at.__getitem__, instances)] == times
            else None
        )

    def _in_time(self, scraped: Iterable[tuple[Sequence[Labels], Sequence[float], Sequence[float]]]) -> list[Batch]:
        """A batch for each instant."""
        found: dict[float, tuple[list[Labels], list[float]]] = defaultdict(lambda: ([], []))
        for key, at_s, value in itertools.chain(*(zip(*one, strict=True) for one in scraped)):
            found[at_s][0].append(key)
            found[at_s][1].append(value)
        return [Batch(at_s, self.is_canary, tuple(found[at_s][0]), found[at_s][1]) for at_s in sorted(found)]

    def grown(self, new: Sequence[Batch], requests: "Side") -> list[Batch]:
        """What the counters grew by. ``requests``: the same side's request counters, which know when an instance was
        first scraped."""
        found: list[Batch] = []
        for number, whole in enumerate(new):
            batch = whole if whole.keys in self.whole else self._without_partial(whole)
            usual = None if self.replaced else self._usual(batch)
            if usual is None and batch.at:  # who was born when matters now
                left = [
                    (one.keys, [one.at.get(i, one.at_s) for i in instances_of(one.keys)], one.values)
                    for one in new[number:]
                ]
                return found + self.grown(self._in_time(left), requests)
            found.append(usual or self._unusual(batch, requests))
        return found

    def _usual(self, batch: Batch) -> Batch | None:
        """What known counters grew by; None where one of them is new, or fell."""
        keys, new = batch.keys, batch.values
        try:
            grown = list(map(sub, new, map(self.values.__getitem__, keys)))
        except KeyError:
            return None
        if min(grown, default=0.0) < 0:
            return None
        self.values.update(zip(keys, new, strict=True))
        return batch._replace(values=grown)

    def _unusual(self, batch: Batch, requests: "Side") -> Batch:
        at_s, _, keys, new, _, _ = batch
        for key, value in zip(keys, new, strict=True):
            if value < self.values.get(key, -math.inf):
                self._forget(key)
        grown = [value - self.values.get(key, value) for key, value in zip(keys, new, strict=True)]
        doubtful = self._born(at_s, keys, new, grown, requests)
        self.values.update(zip(keys, new, strict=True))
        for key in keys:
            if self.first_seen.setdefault(instance_of(key), at_s) == at_s:
                self.first_seen.setdefault(None, at_s)
        return Batch(at_s, self.is_canary, keys, grown, doubtful)

    def _without_partial(self, batch: Batch) -> Batch:
        """The scrape without histograms that lack a bucket which they had before."""
        found: dict[Labels, set[float]] = defaultdict(set)
        for key in batch.keys:
            if bucket := bucket_of(key):
                found[bucket[0]].add(bucket[1])
        more = {one: edges for one, edges in found.items() if not edges <= self.buckets.get(one, frozenset())}
        if more:
            self.buckets = self.buckets | {one: self.buckets.get(one, frozenset()) | more[one] for one in more}
            self.edges, self.whole = self.edges.union(*more.values()), frozenset()
        partial = {one for one, edges in found.items() if edges != self.buckets[one]}
        if not partial:
            self.whole |= {batch.keys}
            return batch
        kept = [
            (key, value)
            for key, value in zip(batch.keys, batch.values, strict=True)
            if not ((bucket := bucket_of(key)) and bucket[0] in partial)
        ]
        return batch._replace(keys=tuple(key for key, _ in kept), values=[value for _, value in kept])

    def _forget(self, fallen: Labels) -> None:
        """An instance started again: all of its counters begin at zero."""
        instance = instance_of(fallen)
        self.falls[instance] = self.falls.get(instance, 0) + 1
        self.values = {key: value for key, value in self.values.items() if instance_of(key) != instance}

    def _born(
        self, at_s: float, keys: Keys, new: Sequence[float], grown: list[float], requests: "Side"
    ) -> Sequence[float]:
        """Put what the counters that were not known before bring into ``grown``; returns what is doubtful of each."""
        present, doubtful = frozenset(keys), [0.0] * len(keys)
        self.replaced -= present
        born: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
        for place, key in enumerate(keys):
            if key not in self.values:
                born[_twin_of(key)].append(place)
        gone: dict[tuple[str | None, ...], list[Labels]] = defaultdict(list)
        for key in self.values if born else ():
            if key not in present and key not in self.replaced:
                gone[_twin_of(key)].append(key)
        for twin, places in born.items():
            total, instance = math.fsum(new[place] for place in places), instance_of(keys[places[0]])
            if not (self._is_born_since(instance, at_s) or requests._is_born_since(instance, at_s)):
                for place in places if self.is_canary else ():
                    doubtful[place] = new[place]
            elif before := gone.get(twin):
                self.replaced |= frozenset(before)
                grown[places[0]] = increment(total, math.fsum(self.values[key] for key in before))
            else:
                for place in places:
                    grown[place] = new[place]
        return doubtful

    def _is_born_since(self, instance: str, at_s: float) -> bool:
        """Whether a series that is seen for the first time now was born since the bake began."""
        first_s, revision_s = self.first_seen.get(instance, math.inf), self.first_seen.get(None, math.inf)
        return first_s < at_s or (self.is_canary and at_s - revision_s > self.young_s)


def _after(samples: tuple[tuple[float, float], ...], before_s: float) -> tuple[tuple[float, float], ...]:
    """The samples that are later, of those that rise in time: look from the end."""
    index = len(samples)
    while index and (not samples[index - 1][0] <= before_s or math.isinf(before_s)):
        index -= 1
    return samples[index:]


@dataclass(frozen=True, slots=True)
class Sources:
    """Every query of a canary, with both sides: stable and the canary."""

    of: dict[str, tuple[Side, Side]]
    counters: frozenset[str]  # the queries whose series are counters

    @classmethod
    def start(cls, queries: Collection[str], counters: Collection[str], young_s: float) -> "Sources":
        """Queries of which nothing was seen yet; those of the playbook's table are among them."""
        names = dict.fromkeys(("requests", "latency", "cpu", "memory", *queries))
        sides = {name: (Side(False, young_s), Side(True, young_s)) for name in names}
        return cls(sides, frozenset(("requests", "latency", *counters)))

    def after(self, observation: Observation, ahead_s: float) -> tuple["Sources", dict[str, Fed]]:
        """The sources after this look, and what is new of each query that has anything new."""
        of, found = self.of.copy(), dict[str, Fed]()
        for query, sides in self.of.items():
            said: Sides = observation.of(query)
            if not (said.canary or said.stable):
                continue
            stable, canary = of[query] = sides[0].copy(), sides[1].copy()
            new = canary.new(said.canary, ahead_s), stable.new(said.stable, ahead_s)
            if not any(new):
                continue
            known = of["requests"] if query == "latency" else of[query]
            pairs = (
                zip((canary, stable), new, (known[True], known[False]), strict=True) if query in self.counters else ()
            )
            grown = [batch for side, one, requests in pairs for batch in side.grown(one, requests)]
            found[query] = Fed([*new[0], *new[1]], grown)
        return Sources(of, self.counters), found
