"""What counters grew by, scrape by scrape: restarts, births and relabelled series have their right value.

- A counter that fell started again: so did every other counter of its instance, also those that are not there yet.
- A series that is new on an instance that was scraped before was born since: it counts from zero. So does an instance
  that appears long after its revision. An instance of stable may be an old one that was away: its first value is where
  it is counted from.
- A series that takes the place of another one of its instance is that one with other labels: it goes on from there.
- What the canary's first instances had counted before their first scrape is in doubt: it may be users' requests, or
  ours from before the bake. It is kept apart.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from playbook.analysis.samples import increment

COUNTER_MAX = 2.0**53
"""A float counts no further. A value above it is no count."""


class Counter(NamedTuple):
    """What is known of one counter. ``twin``: what it has in common with the series that may take its place."""

    key: Hashable
    is_canary: bool
    instance: str
    twin: Hashable


class Grown(NamedTuple):
    """What a counter grew by. ``doubtful``: what it had counted before its first scrape, if that may not count."""

    by: float = 0.0
    doubtful: float = 0.0


@dataclass(slots=True)
class Increments:
    """The last values of counters. Mutable for speed: `copy` before `take` keeps the old ones."""

    young_s: float  # an instance that appears later than this after its revision was born since
    values: dict[Hashable, float] = field(default_factory=dict)
    counters: dict[Hashable, Counter] = field(default_factory=dict)
    replaced: frozenset[Hashable] = frozenset()
    first_seen: dict[tuple[bool, str | None], float] = field(default_factory=dict)  # instance; None: the revision
    falls: dict[tuple[bool, str], int] = field(default_factory=dict)  # scrapes at which an instance's counters fell

    def copy(self) -> "Increments":
        """One that can be fed without changing this one."""
        return Increments(
            self.young_s,
            self.values.copy(),
            self.counters.copy(),
            self.replaced,
            self.first_seen.copy(),
            self.falls.copy(),
        )

    def grown_by(self, at_s: float, counters: Sequence[Counter], new: Sequence[float]) -> list[float]:
        """As `take`, without what is doubtful."""
        values, found = self.values, []
        for counter, value in zip(counters, new, strict=True):
            before = values.get(counter.key)
            if before is None or value < before or self.replaced:
                return [grown.by for grown in self.take(at_s, list(zip(counters, new, strict=True)))]
            found.append(value - before)
        for counter, value in zip(counters, new, strict=True):
            values[counter.key] = value
        return found

    def take(self, at_s: float, batch: Sequence[tuple[Counter, float]]) -> list[Grown]:
        """What each counter of one scrape grew by, in the order given."""
        values = self.values
        is_new = False
        for counter, value in batch:
            before = values.get(counter.key)
            if before is None:
                is_new = True
            elif value < before:
                self._forget(counter)
                is_new = True
        if not is_new and not self.replaced:
            found = [Grown(value - values[counter.key]) for counter, value in batch]
            values.update({counter.key: value for counter, value in batch})
            return found
        born = self._born(at_s, batch)
        found = []
        for counter, value in batch:
            before = values.get(counter.key)
            found.append(born[counter.key] if before is None else Grown(value - before))
            values[counter.key] = value
        if is_new:
            self._note(at_s, batch)
        return found

    def is_born_since(self, is_canary: bool, instance: str, at_s: float) -> bool:
        """Whether a series that is seen for the first time now was born since the bake began."""
        if (is_canary, instance) in self.first_seen:
            return True
        since = self.first_seen.get((is_canary, None))
        return is_canary and since is not None and at_s - since > self.young_s

    def _forget(self, fallen: Counter) -> None:
        """An instance started again: all of its counters begin at zero."""
        side = fallen.is_canary, fallen.instance
        self.falls[side] = self.falls.get(side, 0) + 1
        for key in [key for key in self.values if self._side(key) == side]:
            del self.values[key]

    def _side(self, key: Hashable) -> tuple[bool, str]:
        counter = self.counters[key]
        return counter.is_canary, counter.instance

    def _born(self, at_s: float, batch: Sequence[tuple[Counter, float]]) -> dict[Hashable, Grown]:
        """What the counters that were not known before bring."""
        present = {counter.key for counter, _ in batch}
        self.replaced -= present
        new: dict[Hashable, list[tuple[Counter, float]]] = defaultdict(list)
        for counter, value in batch:
            if counter.key not in self.values:
                new[counter.twin].append((counter, value))
        found = {}
        for twin, twins in new.items():
            counter = twins[0][0]
            if not self.is_born_since(counter.is_canary, counter.instance, at_s):
                doubtful = counter.is_canary
                found.update({one.key: Grown(0.0, value if doubtful else 0.0) for one, value in twins})
                continue
            found.update({one.key: Grown(value) for one, value in twins})
            gone = [
                key
                for key in self.values
                if key not in present and key not in self.replaced and self.counters[key].twin == twin
            ]
            if gone:
                total, before = sum(value for _, value in twins), sum(self.values[key] for key in gone)
                self.replaced |= set(gone)
                found.update({one.key: Grown() for one, _ in twins})
                found[counter.key] = Grown(increment(total, before))
        return found

    def _note(self, at_s: float, batch: Sequence[tuple[Counter, float]]) -> None:
        """Remember when each revision and instance was first scraped."""
        for counter, _ in batch:
            self.counters[counter.key] = counter
            if (counter.is_canary, counter.instance) not in self.first_seen:
                self.first_seen[counter.is_canary, counter.instance] = at_s
                self.first_seen.setdefault((counter.is_canary, None), at_s)
