"""Prometheus and Cloud Logging in memory: counters that follow from the traffic and the behaviour of revisions.

Everything is a function of time, so a resumed release reads the same samples as the first one.
"""

import math
import re
from collections.abc import Callable, Iterator
from itertools import pairwise

from cloud import Behaviour, Cloud, RevisionState
from wire import Wire

from playbook.analysis.samples import CounterSeries, SeriesAnswer
from playbook.checklist.checks import AlertRule
from playbook.errors import NoData
from playbook.incident.logs import LogLine

REVISION = re.compile(r'revision(?:_name)?="([^"]+)"')
EDGES = ("0.5", "2", "5", "+Inf")
ERROR_WINDOW_S = 15
OOM_LINE = "Memory limit of 512 MiB exceeded with 517 MiB used."


class Telemetry:
    """As `Prometheus`. ``users_per_s`` reach each service; every instance is scraped each ``scrape_s`` seconds."""

    def __init__(self, wire: Wire, cloud: Cloud, now: Callable[[], float], scrape_s: float) -> None:
        self._wire, self._cloud, self._now, self._scrape_s = wire, cloud, now, scrape_s
        self.users_per_s = 1000.0
        self.users_of: dict[str, float] = {}
        """service -> users per second, where they are not ``users_per_s``"""
        self.outage = (math.inf, math.inf)
        """from when to when a fifth of the requests to every revision fails"""
        self.rules: tuple[AlertRule, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.shown: Callable[[str, CounterSeries], CounterSeries] = lambda revision, one: one
        """How a series of a revision is shown: under other labels, for one."""

    async def clock(self) -> float:
        """As `Prometheus.clock`."""
        return await self._wire.carry("prometheus", "clock", self._cloud.name, self._now, timeout_s=5)

    async def series(self, query: str, span_s: float, at_s: float | None = None) -> tuple[CounterSeries, ...]:
        """As `Prometheus.series`."""
        name = _revision(query)

        def found() -> tuple[CounterSeries, ...]:
            revision = self._find(name)
            ends_s = self._now() if at_s is None else min(at_s, self._now())
            if revision is None:
                return ()
            return tuple(self.shown(name, one) for one in self._series(query, name, revision, ends_s - span_s, ends_s))

        subject = f"{self._cloud.name}/{query.split('{')[0]} {name}"
        return await self._wire.carry("prometheus", "series", subject, found, timeout_s=5)

    async def answer(self, query: str, span_s: float, at_s: float | None = None) -> SeriesAnswer:
        """As `Prometheus.answer`. ``warnings`` come with every answer."""
        return SeriesAnswer(await self.series(query, span_s, at_s), self.warnings)

    async def value(self, query: str) -> float:
        """As `Prometheus.value`: the share of 5xx of a revision lately."""
        name = _revision(query)

        def found() -> float:
            revision, now_s = self._find(name), self._now()
            asked = 0.0 if revision is None else self.requests(revision, now_s - ERROR_WINDOW_S, now_s)
            if revision is None or asked == 0:
                raise NoData(f"Prometheus has no series that match {query}")
            return revision.behaviour.errors

        return await self._wire.carry("prometheus", "value", f"{self._cloud.name}/{name}", found, timeout_s=5)

    async def alert_rules(self) -> tuple[AlertRule, ...]:
        """As `Prometheus.alert_rules`."""
        return await self._wire.carry("prometheus", "alert_rules", self._cloud.name, lambda: self.rules, timeout_s=5)

    def requests(self, revision: RevisionState, from_s: float, to_s: float) -> float:
        """How many requests a revision got between two times."""
        marks = [*revision.shares, (to_s, 0.0)]
        per_s = next((rate for name, rate in self.users_of.items() if f"/{name}@" in revision.image), self.users_per_s)
        users = sum(
            per_s * share * max(0.0, min(end_s, to_s) - max(at_s, from_s))
            for (at_s, share), (end_s, _) in pairwise(marks)
        )
        ours = sum(
            count * max(0.0, min(end_s, to_s) - max(at_s, from_s)) / (end_s - at_s)
            for at_s, end_s, count in revision.probes
        )
        return users + ours

    def _lost(self, revision: RevisionState, until_s: float) -> float:
        """Requests that a dependency, which all revisions share, has failed."""
        from_s, to_s = self.outage
        return 0.2 * self.requests(revision, from_s, min(to_s, until_s)) if until_s > from_s else 0.0

    def _find(self, name: str) -> RevisionState | None:
        every = (state.revisions for state in self._cloud.services.values())
        found = next((revisions[name] for revisions in every if name in revisions), None)
        return found if found is not None and found.is_ready else None

    def _series(
        self, query: str, name: str, revision: RevisionState, from_s: float, to_s: float
    ) -> Iterator[CounterSeries]:
        first = max(from_s, revision.ready_at_s)
        number = int(first // self._scrape_s) + 1
        times = []
        while number * self._scrape_s <= to_s:
            times.append(number * self._scrape_s)
            number += 1
        if not times:
            return
        labels = {"instance": f"{name}:0"}
        if query.startswith("up"):
            yield CounterSeries(labels, tuple((at_s, 1.0) for at_s in times))
        elif query.startswith("http_request"):
            yield from self._counters(query, labels, revision, times)
        else:
            level = revision.behaviour.memory if "memory" in query else 0.3
            yield CounterSeries(labels, tuple((at_s, level) for at_s in times))

    def _counters(
        self, query: str, labels: dict[str, str], revision: RevisionState, times: list[float]
    ) -> Iterator[CounterSeries]:
        behaviour = revision.behaviour
        counts = [(at_s, self.requests(revision, revision.ready_at_s, at_s)) for at_s in times]
        if query.startswith("http_requests_total"):
            failed = [int(n * behaviour.errors + self._lost(revision, at_s)) for at_s, n in counts]
            good = tuple((at_s, float(int(n) - bad)) for (at_s, n), bad in zip(counts, failed, strict=True))
            yield CounterSeries({**labels, "status": "200"}, good)
            yield CounterSeries({**labels, "status": "503"}, tuple(zip(times, map(float, failed), strict=True)))
            return
        for edge in EDGES:
            share = 1.0 if edge == "+Inf" else 1.0 - behaviour.very_slow
            yield CounterSeries({**labels, "le": edge}, tuple((at_s, float(int(n * share))) for at_s, n in counts))


class Logs:
    """As `CloudLogging`: a revision with errors, or one killed for lack of memory, has one line about it."""

    def __init__(self, wire: Wire, cloud: Cloud) -> None:
        self._wire, self._cloud = wire, cloud

    async def errors(self, service: str, revision: str, since_s: float, limit: int = 20) -> tuple[LogLine, ...]:
        """As `CloudLogging.errors`."""
        subject = f"{self._cloud.name}/{revision}"
        return await self._wire.carry("cloud logging", "errors", subject, lambda: self._lines(service, revision))

    async def oom_kills(self, service: str, revision: str, since_s: float) -> int:
        """As `CloudLogging.oom_kills`."""
        subject = f"{self._cloud.name}/{revision}"
        return await self._wire.carry(
            "cloud logging",
            "oom_kills",
            subject,
            lambda: self._behaviour(service, revision).oom_kills,
        )

    def _behaviour(self, service: str, revision: str) -> Behaviour:
        """A revision that never existed, or whose service was deleted, has no lines; that is not an error."""
        state = self._cloud.services.get(service)
        found = state.revisions.get(revision) if state else None
        return found.behaviour if found else Behaviour()

    def _lines(self, service: str, revision: str) -> tuple[LogLine, ...]:
        behaviour = self._behaviour(service, revision)
        said = ["database connection lost"] * bool(behaviour.errors) + [OOM_LINE] * bool(behaviour.oom_kills)
        return tuple(LogLine(at_s=0.0, severity="ERROR", text=text, insert_id=text) for text in said)


def _revision(query: str) -> str:
    """The revision that the query asks for; none where it asks for all, which have no series here."""
    found = REVISION.search(query)
    return found[1] if found else ""
