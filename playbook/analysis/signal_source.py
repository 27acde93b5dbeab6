"""One query of [[signals]]: what is new in its samples, of the canary and of stable, and what its counters grew by.

Every series of every instance comes here at every look, so what is usual (one new sample, of a known counter, which did
not fall) takes the shortest way.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from playbook.analysis.increments import COUNTER_MAX, Counter, Increments
from playbook.analysis.samples import INSTANCE_LABEL, CounterSeries, Sides, edge_of

Labels = frozenset[tuple[str, str]]


class Batch(NamedTuple):
    """What was scraped of one side at one instant: two lists of the same length, as a tuple for each would cost more.

    ``values``: those of the samples, or what the counters grew by.
    """

    at_s: float  # unix seconds
    is_canary: bool
    labels: list[Labels]
    values: list[float]


def _both() -> tuple[dict[Labels, float], dict[Labels, float]]:
    return {}, {}


def _no_counters() -> tuple[dict[Labels, Counter], dict[Labels, Counter]]:
    return {}, {}


@dataclass(slots=True)
class Source:
    """Mutable for speed: `copy` before `new` keeps the old one. Pairs are of stable and of the canary."""

    increments: Increments
    seen: tuple[dict[Labels, float], dict[Labels, float]] = field(default_factory=_both)  # time of the last sample
    known: tuple[dict[Labels, Counter], dict[Labels, Counter]] = field(default_factory=_no_counters)
    edges: dict[bool, frozenset[float]] = field(default_factory=dict)  # of each side's histograms
    latest_s: dict[bool, float] = field(default_factory=dict)

    def copy(self) -> "Source":
        """One that can be fed without changing this one. What is known of counters is replaced, never changed."""
        stable, canary = self.seen
        return Source(
            self.increments.copy(),
            (stable.copy(), canary.copy()),
            self.known,
            self.edges.copy(),
            self.latest_s.copy(),
        )

    def new(self, sides: Sides, ahead_s: float) -> list[Batch]:
        """The samples that are new, by their time; none later than ``ahead_s``, and none that is no number."""
        found: list[Batch] = []
        for is_canary, group in ((True, sides.canary), (False, sides.stable)):
            seen, batches = self.seen[is_canary], dict[float, Batch]()
            batch = Batch(math.nan, is_canary, [], [])
            for one in group:
                samples = one.samples
                if not samples:
                    continue
                before_s = seen.get(one.key, -math.inf)
                at_s, value = samples[-1]
                if at_s <= before_s:
                    continue
                is_one = len(samples) == 1 or samples[-2][0] <= before_s
                if is_one and -math.inf < at_s <= ahead_s and -COUNTER_MAX <= value <= COUNTER_MAX:
                    if at_s != batch.at_s:
                        batch = _batch(batches, at_s, is_canary)
                    batch.labels.append(one.key)
                    batch.values.append(value)
                    seen[one.key] = at_s
                elif (last_s := _several(one, is_canary, before_s, ahead_s, batches)) > before_s:
                    seen[one.key] = last_s
            if batches:
                self.latest_s[is_canary] = max(*batches, self.latest_s.get(is_canary, -math.inf))
                found += batches.values()
        return sorted(found, key=_time)

    def grown(self, new: Sequence[Batch]) -> list[Batch]:
        """What the counters grew by."""
        self._learn(new)
        found = []
        for at_s, is_canary, labels, values in new:
            known = self.known[is_canary]
            counters = [known[one] for one in labels]
            found.append(Batch(at_s, is_canary, labels, self.increments.grown_by(at_s, counters, values)))
        return found

    def _learn(self, new: Iterable[Batch]) -> None:
        """Work out what the counters are that are seen for the first time."""
        learnt: tuple[dict[Labels, Counter], dict[Labels, Counter]] = {}, {}
        for _, is_canary, labels, _ in new:
            known, found = self.known[is_canary], learnt[is_canary]
            for one in labels:
                if one not in known and one not in found:
                    found[one] = self._counter(is_canary, one)
        if any(learnt):
            (stable, canary), (new_stable, new_canary) = self.known, learnt
            self.known = stable | new_stable, canary | new_canary

    def _counter(self, is_canary: bool, labels: Labels) -> Counter:
        said = dict(labels)
        instance = said.get(INSTANCE_LABEL, "")
        twin = is_canary, instance, *(said.get(name) for name in ("status", "response_code_class", "le"))
        if (edge := edge_of(said)) is not None:
            self.edges[is_canary] = self.edges.get(is_canary, frozenset()) | {edge}
        return Counter((is_canary, labels), is_canary, instance, twin)


def _time(batch: Batch) -> float:
    return batch.at_s


def _batch(batches: dict[float, Batch], at_s: float, is_canary: bool) -> Batch:
    found = batches.get(at_s)
    if found is None:
        found = batches[at_s] = Batch(at_s, is_canary, [], [])
    return found


def _several(
    one: CounterSeries, is_canary: bool, before_s: float, ahead_s: float, batches: dict[float, Batch]
) -> float:
    """File the samples after ``before_s``, and return the time of the last of them."""
    last_s = before_s
    for at_s, value in reversed(one.samples):
        if at_s <= before_s and not math.isinf(before_s):
            break
        if -math.inf < at_s <= ahead_s and math.isfinite(value) and abs(value) <= COUNTER_MAX:
            batch = _batch(batches, at_s, is_canary)
            batch.labels.append(one.key)
            batch.values.append(value)
            last_s = max(last_s, at_s)
    return last_s
