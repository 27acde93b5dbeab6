"""What is new in the samples of a query, and what its counters grew by: restarts, births and relabelled series.

- A counter that fell started again: so did every other counter of its instance, also those that are not there yet.
- A series that is new on an instance that was scraped before was born since: it counts from zero. So does an instance
  that appears long after its revision. An instance of stable may be an old one that was away: its first value is where
  it is counted from.
- A series that takes the place of another one of its instance is that one with other labels: it goes on from there.
- What the canary's first instances had counted before their first scrape is in doubt: it may be users' requests, or
  ours from before the bake. It is kept apart.
- A histogram that came with a bucket missing waits for its next scrape.

Every series of every instance comes here at every look, so what is usual (one new sample, of a known counter, which did
not fall) takes the shortest way.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter, sub
from typing import NamedTuple

from playbook.analysis.samples import INSTANCE_LABEL, CounterSeries, Labels, Observation, Sides, edge_of, increment

Keys = tuple[Labels, ...]
COUNTER_MAX = 2.0**53
"""A float counts no further. A value above it is no count."""


class Batch(NamedTuple):
    """What was scraped of one side at one instant. ``values``: those of the samples, or what the counters grew by."""

    at_s: float  # unix seconds
    is_canary: bool
    keys: Keys
    values: Sequence[float]
    doubtful: Sequence[float] = ()  # what each counter had counted before its first scrape, if that may not count


class Fed(NamedTuple):
    """What is new of one query, in time."""

    samples: Sequence[Batch] = ()
    grown: Sequence[Batch] = ()  # where its series are counters


@functools.lru_cache(maxsize=1 << 16)
def instance_of(key: Labels) -> str:
    """The instance of a series."""
    return dict(key).get(INSTANCE_LABEL, "")


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
        """The samples that are new, by their time; none later than ``ahead_s``, and none that is no number."""
        seen, batches = self.seen, dict[float, tuple[list[Labels], list[float]]]()
        last_s, keys, values = math.nan, list[Labels](), list[float]()
        for one in group:
            samples, key = one.samples, one.key
            if not samples:
                continue
            at_s, value = samples[-1]
            before_s = seen.get(key, -math.inf)
            if at_s <= before_s:
                continue
            is_one = len(samples) == 1 or samples[-2][0] <= before_s
            for at_s, value in samples[-1:] if is_one else _after(samples, before_s):
                if not (-math.inf < at_s <= ahead_s and -COUNTER_MAX <= value <= COUNTER_MAX):
                    continue
                if at_s != last_s:
                    last_s, (keys, values) = at_s, batches.setdefault(at_s, ([], []))
                keys.append(key)
                values.append(value)
                seen[key] = at_s
        if batches:
            self.latest_s = max(self.latest_s, *batches)
        return [Batch(at_s, self.is_canary, tuple(keys), values) for at_s, (keys, values) in batches.items()]

    def grown(self, batch: Batch, requests: "Side") -> Batch:
        """What the counters of one scrape grew by. ``requests``: the same side's request counters, which know when an
        instance was first scraped."""
        at_s, _, keys, new, _ = batch if batch.keys in self.whole else self._without_partial(batch)
        if not self.replaced:
            try:
                grown = list(map(sub, new, map(self.values.__getitem__, keys)))
            except KeyError:
                grown = [-1.0]
            if min(grown, default=0.0) >= 0:
                self.values.update(zip(keys, new, strict=True))
                return Batch(at_s, self.is_canary, keys, grown)
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


def _after(samples: Sequence[tuple[float, float]], before_s: float) -> Sequence[tuple[float, float]]:
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
            new = [*canary.new(said.canary, ahead_s), *stable.new(said.stable, ahead_s)]
            if not new:
                continue
            new.sort(key=attrgetter("at_s"))
            requests = of["requests"] if query == "latency" else of[query]
            is_counter = query in self.counters
            grown = [of[query][one.is_canary].grown(one, requests[one.is_canary]) for one in new if is_counter]
            found[query] = Fed(new, grown)
        return Sources(of, self.counters), found
