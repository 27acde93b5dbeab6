"""What is new in the samples of a query, and what its counters grew by: restarts, births and new names.

- A counter that fell started again: so did every other counter of its instance, also those that are not there yet.
- A series that is new on an instance that was scraped before was born since: it counts from zero. So does an instance
  that appears long after its revision. An instance of stable may be an old one that was away: its first value is where
  it is counted from.
- A series that takes the place of another one of its instance is that one with other labels: it goes on from there.
- An instance of the canary that is new, or was away, may be another one under a new name: it goes on from the highest
  counts of those that it may be. If that one is scraped in time, it was another: what was held back counts. So names,
  however often they change, make no more requests than were served.
- What the canary's first instances had counted before their first scrape is in doubt: it may be users' requests, or
  ours from before the bake. It is kept apart.
- Where a label appears by which every counter is there several times, and alike, one copy counts.
- A histogram that came with a bucket missing waits for its next scrape.

Every series comes here at every look, so known counters that did not fall take the shortest way. Only instances of
which anything else is true are looked at scrape by scrape, in time.
"""

import functools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import sub
from typing import NamedTuple, TypeVar

from playbook.analysis.samples import INSTANCE_LABEL, NAME, CounterSeries, Labels, Observation, Sides, increment

Keys = tuple[Labels, ...]
Twin = tuple[float | str | None, ...]
Mutable = TypeVar("Mutable")
COUNTER_MAX = 2.0**53  # a float counts no further. A value above it is no count.
YOUNG = 2  # scrapes: an instance of the canary that appears later than this after its revision was born since
AWAY = 1.9  # scrapes without a sample, after which an instance was away
NEXT = 0.9  # scrapes between two names of an instance, at least
ALIKE_MIN = 100  # requests before it means something that two series are alike, or that none is a user's
ALIKE = 0.02


class Batch(NamedTuple):
    """What is new of one side of a query, sample by sample, those of a series in time."""

    is_canary: bool
    keys: Keys = ()
    at: Sequence[float] = ()  # unix seconds
    values: Sequence[float] = ()  # of the samples, or what the counters grew by
    doubtful: Mapping[int, float] = {}  # place -> what was counted before the first scrape, if that may not count

    def parts(self, number: Callable[[float], int]) -> dict[int, tuple[Keys, Sequence[float]]]:
        """The series and the values by the number of their instant."""
        first, last = number(min(self.at)), number(max(self.at))  # it rises with time
        if first == last:
            return {first: (self.keys, self.values)}
        of = {at_s: number(at_s) for at_s in set(self.at)}
        found: dict[int, tuple[list[Labels], list[float]]] = defaultdict(lambda: ([], []))
        for key, at_s, value in zip(self.keys, self.at, self.values, strict=True):
            keys, values = found[of[at_s]]
            keys.append(key)
            values.append(value)
        return {one: (tuple(keys), values) for one, (keys, values) in found.items()}


class Fed(NamedTuple):
    """What is new of one query, of the canary and of stable."""

    samples: Sequence[Batch] = ()
    grown: Sequence[Batch] = ()  # where its series are counters


class _Read(NamedTuple):
    """What some series are."""

    instances: list[str]  # of each
    buckets: list[tuple[Labels, int]]  # how many of each histogram are there
    each: frozenset[Labels]


@functools.lru_cache(maxsize=1024)
def _read(keys: Keys) -> _Read:
    buckets = Counter([key.histogram for key in keys if key.histogram is not None])
    return _Read([key.instance for key in keys], list(buckets.items()), frozenset(keys))


def unshared(one: Mutable) -> Mutable:
    """A copy with dictionaries of its own: it can be changed without changing ``one``."""
    made = object.__new__(type(one))
    vars(made).update({name: value.copy() if type(value) is dict else value for name, value in vars(one).items()})
    return made


@functools.lru_cache(maxsize=1024)
def edges_of(keys: Keys) -> Mapping[Labels, frozenset[float]]:
    """The upper edges of each histogram (seconds)."""
    found: dict[Labels, frozenset[float]] = defaultdict(frozenset)
    for key in keys:
        if key.histogram is not None and key.edge is not None:
            found[key.histogram] |= {key.edge}
    return found


def _by_twin(keys: Iterable[Labels]) -> dict[Twin, list[Labels]]:
    found: dict[Twin, list[Labels]] = defaultdict(list)
    for key in keys:
        found[key.twin].append(key)
    return found


def doubled(counts: Mapping[Labels, float]) -> tuple[str, list[str]] | None:
    """The label, with its values, by which alone every counter is there several times, as of replicated servers: the
    copies are close together, on requests enough to mean something."""
    for name in sorted({name for key in counts for name, _ in key} - {NAME, INSTANCE_LABEL, "status", "le"}):
        groups: dict[frozenset[tuple[str, str]], dict[str, float]] = defaultdict(dict)
        for key, count in counts.items():
            groups[frozenset(item for item in key if item[0] != name)][dict(key).get(name, "")] = count
        copies = {frozenset(group) for group in groups.values()}
        ranges = [(min(group.values()), max(group.values())) for group in groups.values()]
        if len(copies) > 1 or min(map(len, copies)) < 2 or any(b - a > max(2.0, ALIKE * b) for a, b in ranges):
            continue
        if "replica" in name or max(most for _, most in ranges) >= ALIKE_MIN:
            return name, sorted(copies.pop())
    return None


def _is_within(counts: Mapping[Twin, float], others: Mapping[Twin, float]) -> bool:
    """Whether none of these is above the other, and of a histogram none between two edges."""
    more = {twin: others.get(twin, 0.0) - counts.get(twin, 0.0) for twin in {**counts, **others}}
    rising = [more[twin] for twin in sorted(twin for twin in more if len(twin) == 1)]  # edges
    return min(more.values(), default=0.0) >= 0 and rising == sorted(rising)


@dataclass
class Side:
    """The canary or stable in the answers to one query. Mutable for speed: feed one that is `unshared`."""

    is_canary: bool
    scrape_s: float
    seen: dict[Labels, float] = field(default_factory=dict)  # time of the last sample
    values: dict[Labels, float] = field(default_factory=dict)  # of the counters
    replaced: frozenset[Labels] = frozenset()  # counters whose place others of their instance took
    lent: dict[str, dict[Twin, float]] = field(default_factory=dict)  # instance -> what is held back in case it is gone
    first_s: dict[str, float] = field(default_factory=dict)  # scrape of an instance
    last_s: dict[str, float] = field(default_factory=dict)
    born_s: float = math.inf  # first scrape of the revision
    falls: dict[str, int] = field(default_factory=dict)  # scrapes at which an instance's counters fell
    partial: dict[str, int] = field(default_factory=dict)  # scrapes at which an instance's histogram lacked a bucket
    edges: frozenset[float] = frozenset()  # of all histograms
    buckets: dict[Labels, frozenset[float]] = field(default_factory=dict)  # those of each
    latest_s: float = -math.inf

    def new(self, group: Iterable[CounterSeries], ahead_s: float, least: float = -COUNTER_MAX) -> Batch:
        """The samples that are new; none later than ``ahead_s``, none below ``least``, and none that is no number."""
        seen, never_s, most = self.seen, -math.inf, COUNTER_MAX
        keys: list[Labels] = []
        at: list[float] = []
        values: list[float] = []
        for one in group:
            samples, key = one.samples, one.key
            before_s = seen.get(key, never_s)
            if not samples or samples[-1][0] <= before_s:
                continue
            if len(samples) > 1 and not samples[-2][0] <= before_s:
                after = [
                    (at_s, value) for at_s, value in samples if before_s < at_s <= ahead_s and least <= value <= most
                ]
                keys += [key] * len(after)
                times, counts = zip(*after, strict=True) if after else ((), ())
                at += times
                values += counts
                continue
            at_s, value = samples[-1]
            if never_s < at_s <= ahead_s and least <= value <= most:  # as at most looks
                keys.append(key)
                at.append(at_s)
                values.append(value)
        seen.update(zip(keys, at, strict=True))
        self.latest_s = max(self.latest_s, max(at, default=never_s))
        return Batch(self.is_canary, tuple(keys), at, values)

    def grown(self, new: Batch, requests: "Side") -> Batch:
        """What the counters grew by. ``requests``: the same side's request counters, which know when an instance was
        first scraped."""
        keys, at, values = new.keys, new.at, new.values
        read = _read(keys)
        times = dict(zip(read.instances, at, strict=True))
        grown = list(map(sub, values, map(self.values.get, keys, values)))
        odd = self._odd(new, read, times, grown)
        own: dict[str, dict[Labels, float]] = {instance: {} for instance in odd}
        for key, value in self.values.items() if odd else ():
            if key.instance in own:
                own[key.instance][key] = value
        usual = zip(keys, values, strict=True)
        self.values.update(usual if not odd else [one for one in usual if one[0].instance not in odd])
        self.last_s.update(times if not odd else {one: at_s for one, at_s in times.items() if one not in odd})
        scrapes: dict[tuple[float, str], dict[Labels, int]] = defaultdict(dict)
        for place, instance in enumerate(read.instances) if odd else ():
            if instance in odd:
                scrapes[at[place], instance][keys[place]] = place
        doubtful: dict[int, float] = {}
        for (at_s, instance), places in sorted(scrapes.items()):
            scrape = self._whole(instance, {key: values[place] for key, place in places.items()})
            more, in_doubt = self._scraped(at_s, instance, scrape, own, requests) if scrape else ({}, ())
            for key, place in places.items():
                grown[place] = more.get(key, 0.0)
            for key in in_doubt:
                doubtful[places[key]] = scrape[key]
        for counts in own.values():
            self.values.update(counts)
        return Batch(self.is_canary, keys, at, grown, doubtful)

    def _odd(self, new: Batch, read: _Read, times: Mapping[str, float], grown: Sequence[float]) -> set[str]:
        """The instances that must be looked at scrape by scrape. ``times``: their last instants."""
        keys, known = new.keys, self.values
        if len(read.each) < len(keys) or [*map(times.__getitem__, read.instances)] != new.at:
            return times.keys() | self.last_s.keys()  # more than one scrape of an instance
        odd = {key.instance for key in read.each.difference(known).union(self.replaced & read.each)}
        odd |= {one.instance for one, count in read.buckets if count != len(self.buckets.get(one, ()))}
        odd |= self.lent.keys() & times.keys()
        if min(grown) < 0:
            odd |= {instance for instance, more in zip(read.instances, grown, strict=True) if more < 0}
        others = {one for one, at_s in times.items() if self._is_other(one, at_s)}
        if others:  # and who may have gone on there: those that had not counted more
            counts = {key: value for key, value in zip(keys, new.values, strict=True) if key.instance in others}
            most = max(self._totals(counts).values())
            odd |= others | (self.last_s.keys() - {key.instance for key, value in known.items() if value > most})
        return odd

    def _is_other(self, instance: str, at_s: float) -> bool:
        """Whether it may be another one under a new name."""
        return self.is_canary and at_s - self.last_s.get(instance, -math.inf) >= AWAY * self.scrape_s

    def _whole(self, instance: str, scrape: dict[Labels, float]) -> dict[Labels, float]:
        """The scrape without histograms that lack a bucket which they had before."""
        found = edges_of(tuple(scrape))
        others = [histogram for histogram, edges in found.items() if edges != self.buckets.get(histogram)]
        for histogram in others:
            self.edges |= found[histogram]
            self.buckets[histogram] = self.buckets.get(histogram, frozenset()) | found[histogram]
        partial = {histogram for histogram in others if found[histogram] != self.buckets[histogram]}
        if not partial:
            return scrape
        self.partial[instance] = self.partial.get(instance, 0) + 1
        return {key: value for key, value in scrape.items() if key.histogram not in partial}

    def _scraped(
        self,
        at_s: float,
        instance: str,
        scrape: Mapping[Labels, float],
        own: Mapping[str, dict[Labels, float]],
        requests: "Side",
    ) -> tuple[dict[Labels, float], list[Labels]]:
        """What the counters of one scrape grew by, and those whose first value is in doubt. ``own``: the counters of
        those instances that matter."""
        mine, is_other, held_back = own[instance], self._is_other(instance, at_s), self.lent.pop(instance, {})
        grown = {key: value - mine.get(key, math.inf) for key, value in scrape.items()}
        doubtful: list[Labels] = []
        if is_other or held_back or min(grown.values()) < 0 or not self.replaced.isdisjoint(scrape):
            if mine and 2 * len(mine.keys() & scrape) <= len(scrape) and (copies := doubled(scrape)):
                name, values = copies  # of those that are known, if any; the others are left out at each scrape
                kept = next((dict(key)[name] for key in scrape if key in mine and name in dict(key)), values[0])
                scrape = {key: value for key, value in scrape.items() if dict(key).get(name, "") == kept}
            if any(value < mine.get(key, value) for key, value in scrape.items()):
                self.falls[instance] = self.falls.get(instance, 0) + 1
                for key in mine:  # it started again: all of its counters begin at zero
                    self.values.pop(key, None)
                mine.clear()
            is_counted = self._is_born_since(instance, at_s) or requests._is_born_since(instance, at_s)
            gone = self._gone_on(instance, scrape, own) if is_counted and is_other else None
            grown, doubtful = self._grown_of(scrape, mine if gone is None else own[gone], is_counted, gone is not None)
            for twin, keys in _by_twin(scrape).items() if held_back and not is_other else ():
                grown[keys[0]] += held_back.get(twin, 0.0)
        mine.update(scrape)
        self.first_s.setdefault(instance, at_s)
        self.last_s[instance] = at_s
        self.born_s = min(self.born_s, at_s)
        return grown, doubtful

    def _grown_of(
        self, scrape: Mapping[Labels, float], before: Mapping[Labels, float], is_counted: bool, is_renamed: bool
    ) -> tuple[dict[Labels, float], list[Labels]]:
        """The same, once it is known what it had counted ``before``, maybe under another name (``is_renamed``).
        ``is_counted``: what is new counts from zero."""
        returned, doubtful = self.replaced.intersection(scrape), list[Labels]()
        self.replaced -= returned
        born = [key for key in scrape if key not in before or key in returned]
        left = _by_twin(key for key in before if key not in scrape and key not in self.replaced) if born else {}
        grown = {key: value - before.get(key, value) for key, value in scrape.items()}
        for twin, keys in _by_twin(born).items():
            if twin in left:
                total = math.fsum(map(scrape.__getitem__, keys))
                grown |= dict.fromkeys(keys, 0.0)
                grown[keys[0]] = increment(total, math.fsum(map(before.__getitem__, left[twin])))
                self.replaced |= frozenset(() if is_renamed else left[twin])
            elif is_counted or is_renamed:
                grown |= {key: scrape[key] - before.get(key, 0.0) for key in keys}
            elif self.is_canary:
                doubtful += keys
        return grown, doubtful

    def _gone_on(
        self, instance: str, scrape: Mapping[Labels, float], own: Mapping[str, dict[Labels, float]]
    ) -> str | None:
        """The instance that this one may be: none of its counters is above what is there now, or below what was there.
        Of several, the one with the most, so that nothing is counted twice; the next one says what is held back."""
        now, then = self._totals(scrape), self._totals(own[instance])
        highest, since_s = max(now.values()), self.last_s.get(instance, -math.inf) + NEXT * self.scrape_s
        ranked = sorted(
            [
                (sum(value for key, value in theirs.items() if key not in self.replaced), name)
                for name, theirs in own.items()
                if theirs and name != instance and self.last_s[name] >= since_s and 0 < max(theirs.values()) <= highest
            ],
            reverse=True,
        )
        totals = ((name, self._totals(own[name])) for _, name in ranked)
        fit = (one for one in totals if _is_within(then, one[1]) and _is_within(one[1], now))
        (gone, most), (_, least) = [*islice(fit, 2), ("", then), ("", then)][:2]
        if gone and _is_within(least, most):
            self.lent[gone] = {twin: total - least.get(twin, 0.0) for twin, total in most.items()}
        return gone or None

    def _totals(self, counts: Mapping[Labels, float]) -> dict[Twin, float]:
        """What the counters of an instance that were not replaced have counted."""
        kept = _by_twin(key for key in counts if key not in self.replaced)
        return {twin: math.fsum(map(counts.__getitem__, keys)) for twin, keys in kept.items()}

    def _is_born_since(self, instance: str, at_s: float) -> bool:
        """Whether a series that is seen for the first time now was born since the bake began."""
        is_late = self.is_canary and at_s - self.born_s > YOUNG * self.scrape_s
        return is_late or self.first_s.get(instance, math.inf) < at_s


@dataclass(frozen=True, slots=True)
class Sources:
    """Every query of a canary, with both sides: stable and the canary."""

    of: dict[str, tuple[Side, Side]]
    counters: frozenset[str]  # the queries whose series are counters

    @classmethod
    def start(cls, queries: Collection[str], counters: Collection[str], scrape_s: float) -> "Sources":
        """Queries of which nothing was seen yet; those of the playbook's table are among them."""
        names = dict.fromkeys(("requests", "latency", "cpu", "memory", *queries))
        sides = {name: (Side(False, scrape_s), Side(True, scrape_s)) for name in names}
        return cls(sides, frozenset(("requests", "latency", *counters)))

    def after(self, observation: Observation, ahead_s: float) -> tuple["Sources", dict[str, Fed]]:
        """The sources after this look, and what is new of each query that has anything new."""
        of, found = self.of.copy(), dict[str, Fed]()
        for query, sides in self.of.items():
            said: Sides = observation.of(query)
            if not (said.canary or said.stable):
                continue
            stable, canary = of[query] = unshared(sides[0]), unshared(sides[1])
            least = 0.0 if query in self.counters else -COUNTER_MAX
            pairs = [(side, side.new(group, ahead_s, least)) for side, group in ((canary, said[0]), (stable, said[1]))]
            new = [(side, batch) for side, batch in pairs if batch.keys]
            if not new:
                continue
            known = of["requests" if query == "latency" else query]
            grown = [side.grown(batch, known[side.is_canary]) for side, batch in new] if query in self.counters else ()
            found[query] = Fed([batch for _, batch in new], grown)
        return Sources(of, self.counters), found
