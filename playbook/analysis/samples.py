"""What telemetry says, as values: raw samples with their true timestamps, and the dispersion of a past hour.

Blocks turn a vendor's answer into these; `evidence` folds them. Plain dataclasses, not models: there are
thousands of them in a bake, and their makers have checked them already.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from playbook.analysis.policy import Policy
from playbook.analysis.sequential import ALONE
from playbook.analysis.status import status_of

INSTANCE_LABEL, NAME = "instance", "__name__"
ALONE_MIN = 30  # errors that must have been seen before it is known that they come alone


class Labels(frozenset[tuple[str, str]]):
    """The labels of a series, and what they say of it."""

    @functools.cached_property
    def instance(self) -> str:
        """The instance of the series."""
        return dict(self).get(INSTANCE_LABEL, "")

    @functools.cached_property
    def failed(self) -> bool | None:
        """Whether its requests were answered with a 5xx, by its label ``status``: code, class or word. None where that
        does not say how they ended."""
        status = status_of(str(dict(self).get("status", "")))
        return None if status is None else status.startswith("5")

    @functools.cached_property
    def edge(self) -> float | None:
        """The upper edge of a bucket (seconds); None where the series is no bucket of a histogram."""
        try:
            edge = float(dict(self)["le"])
        except (KeyError, ValueError):
            return None
        return None if math.isnan(edge) else edge

    @functools.cached_property
    def histogram(self) -> "Labels | None":
        """What the buckets of one histogram have in common."""
        return None if self.edge is None else the_labels(frozenset(item for item in self if item[0] != "le"))

    @functools.cached_property
    def twin(self) -> tuple[float | str | None, ...]:
        """What it has in common with the series that may take its place on its instance, or under another name."""
        said = dict(self)
        return (said.get("status"), said.get("response_code_class")) if self.edge is None else (self.edge,)


@functools.lru_cache(maxsize=1 << 16)
def the_labels(said: frozenset[tuple[str, str]]) -> Labels:
    """One object for equal labels: looking it up compares none of them."""
    return Labels(said)


@dataclass(frozen=True, slots=True)
class CounterSeries:
    """One series of one instance: a cumulative counter, or a gauge.

    ``samples`` are (unix seconds, value), rising in time; a value that is not finite counts as absent.
    ``labels``: requests carry ``status`` (a code or a class, "503" or "5xx"), latency carries ``le`` (seconds);
    ``instance`` tells instances apart.
    """

    labels: dict[str, str]
    samples: tuple[tuple[float, float], ...]
    key: Labels = field(init=False, repr=False, compare=False)  # its labels, to look it up by

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", the_labels(frozenset(self.labels.items())))


@dataclass(frozen=True, slots=True)
class SeriesAnswer:
    """What a query gave. ``warnings``: it is not all there is, and why."""

    series: tuple[CounterSeries, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RevisionSamples:
    """Everything that is measured of one revision. ``cpu`` and ``memory`` are 0-1 gauges, one per instance."""

    requests: tuple[CounterSeries, ...] = ()
    latency: tuple[CounterSeries, ...] = ()
    cpu: tuple[CounterSeries, ...] = ()
    memory: tuple[CounterSeries, ...] = ()


class Sides(NamedTuple):
    """What one query said of the canary and of stable."""

    canary: tuple[CounterSeries, ...] = ()
    stable: tuple[CounterSeries, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at the world. ``now_s`` is the telemetry's clock; samples may repeat what was seen before.

    ``oom_kills``: kills of canary instances since the bake began; None when it could not be asked. ``more``: what the
    queries of signals said, by their name. ``new_errors``: error lines of the canary that stable does not have.
    ``faults``: what is wrong with this look at the canary, by `telemetry_checks.look_faults`.
    """

    now_s: float
    canary: RevisionSamples = RevisionSamples()
    stable: RevisionSamples = RevisionSamples()
    oom_kills: int | None = None
    more: Mapping[str, Sides] = field(default_factory=dict)
    new_errors: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()

    def of(self, query: str) -> Sides:
        """What the query of a signal said."""
        if query in ("requests", "latency", "cpu", "memory"):
            return Sides(getattr(self.canary, query), getattr(self.stable, query))
        return self.more.get(query, Sides())


@dataclass(frozen=True, slots=True)
class Dispersion:
    """How bursty errors are: the variance of errors in a scrape, as a multiple of what independent errors would have.

    1 means independent; 20 that they come twenty at a time. ``requests``, ``seconds`` and ``errors`` say what it rests
    on.
    """

    phi_hat: float
    source: Literal["history", "default", "given"]
    requests: int = 0
    seconds: float = 0.0
    errors: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether errors are known to come alone: enough of them were seen. A figure that is given is believed."""
        return self.phi_hat < ALONE and (self.source == "given" or self.errors >= ALONE_MIN)


def increment(value: float, before: float) -> float:
    """What a counter grew by. A fall means that it started again from zero."""
    return value - before if value >= before else value


def dispersion(history: Sequence[CounterSeries], policy: Policy) -> Dispersion:
    """The dispersion of stable's errors in the past that was read (at most ``history_s`` before the canary).

    A history counts when it has ``history_min_s`` of scrapes and ``history_min_requests``: then Pearson's statistic
    over scrapes, within 1 and 200, and 1 when it holds fewer than 10 errors. Otherwise ``phi_unknown``.
    """
    steps: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
    first, last = math.inf, -math.inf
    known_s: dict[str, float] = {}  # instance -> first sample of any of its series
    for series in filter(lambda one: one.samples, history):
        instance = series.key.instance
        known_s[instance] = min(series.samples[0][0], known_s.get(instance, math.inf))
    for series in history:
        is_late = bool(series.samples) and series.samples[0][0] > known_s[series.key.instance]
        before: float | None = 0.0 if is_late else None  # its first error made it: it was born with a burst in it
        for at_s, value in series.samples:
            if not math.isfinite(value):
                continue
            first, last = min(first, at_s), max(last, at_s)
            if before is not None and (grown := increment(value, before)):
                step = steps[math.floor(at_s / policy.scrape_s)]
                step[0] += grown
                step[1] += grown if series.key.failed else 0.0
            before = value
    requests = sum(n for n, _ in steps.values())
    errors = sum(x for _, x in steps.values())
    seconds = max(0.0, last - first)
    # Scrapes do not start and end on the second: two of them may be missing at the edges.
    if requests < policy.history_min_requests or seconds < policy.history_min_s - 2 * policy.scrape_s:
        return Dispersion(policy.phi_unknown, "default", int(requests), seconds, int(errors))
    if errors < 10:
        return Dispersion(1.0, "history", int(requests), seconds, int(errors))
    ratio = errors / requests
    excess = sum((x - n * ratio) ** 2 / (n * ratio * max(1 - ratio, 1e-9)) for n, x in steps.values())
    phi_hat = excess / max(1, len(steps) - 1)
    return Dispersion(min(200.0, max(1.0, phi_hat)), "history", int(requests), seconds, int(errors))


def requests_per_s(history: Sequence[CounterSeries], policy: Policy) -> float | None:
    """Requests per second of all these series together, over the ``history_s`` that was read; None without a sample.

    What was there all the time counts over the time between its first and its last sample. What was there for a part of
    it, such as a service at 0 instances, counts over the whole.
    """
    if not any(series.samples for series in history):
        return None
    seen = dispersion(history, policy)
    whole_s = policy.history_s - 3 * policy.scrape_s
    return seen.requests / (seen.seconds if seen.seconds >= whole_s else policy.history_s)
