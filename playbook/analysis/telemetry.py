"""The telemetry of an environment in the form that the judge reads: one copy of each series, HTTP status, seconds.

What an environment's telemetry looks like is said in its table [telemetry]; `understood` does the rest.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from playbook.analysis.samples import NAME, CounterSeries, RevisionSamples
from playbook.analysis.status import Codes, status_of
from playbook.base import Written

STATUS = "status"
AS_WRITTEN = "status_as_written"  # keeps two series apart whose words mean the same status
SECONDS_MAX = 300.0  # no histogram of requests has an edge above this many seconds, unless its edges are milliseconds
IN_MS, IN_S = re.compile(r"(?i)(?:_|^)(?:ms|millis(?:econds)?)(?:_|$)"), re.compile(r"(?i)(?:_|^)(?:s|seconds)(?:_|$)")

LabelName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]

HEALTH_CHECKS = (
    "(/(api|actuator|q|v[0-9]+))*/health(z|check|-check)?(/(live(ness)?|read(y|iness)|start(up|ed)))?/?",
    "(/-)?/(healthy|livez?|liveness|readyz?|readiness|startupz?|ping)/?",
    "/metrics/?|/actuator/prometheus",
    "grpc.health.v1.Health",
)
NO_ROUTE = "no route at all"
"""Stands where no health check is named: in PromQL an empty pattern would leave out what has no such label."""
ROUTE_LABELS = ("handler", "path", "path_template", "uri", "url", "route", "http_route", "endpoint", "grpc_service")
"""What exporters name the route: prometheus-fastapi-instrumentator and Go's promhttp ``handler``, express-prom-bundle,
starlette_exporter and Flask ``path``, Micrometer ``uri``, Echo and Gin ``url``, Ktor ``route``, OpenTelemetry
``http_route``, gRPC ``grpc_service``."""


def _is_route(pattern: str) -> str:
    """A pattern that Python and PromQL (RE2) read alike, and that leaves out no more than it says."""
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if re.search(r"\(\?[^:]|\\[1-9]", pattern):
        raise ValueError(f"{pattern!r}: Prometheus has no groups such as (?=...) and no \\1; write it without them")
    if found.fullmatch("") or found.fullmatch("/"):
        raise ValueError(f"{pattern!r} also matches users' requests (no route, or /); name the health checks' routes")
    return pattern


class Unit(StrEnum):
    """What a histogram's edges are in."""

    AUTO = "auto"  # as the metric's name says; else milliseconds where an edge is above 300
    SECONDS = "s"
    MILLISECONDS = "ms"


class TelemetryForm(Written):
    """The labels and units of an environment's metrics."""

    status_label: LabelName = Field(
        STATUS, description="Label that says how a request ended: status, code, status_code, grpc_code."
    )
    status_codes: Codes = Field(
        Codes.AUTO, description="What numbers below 100 are: http (classes), grpc, or auto (by the label's name)."
    )
    status_values: dict[str, Annotated[str, Field(pattern=r"^[1-5](xx|[0-9]{2})$")]] = Field(
        default_factory=dict, description='What a word of your own means: {partial = "2xx"}.'
    )
    latency_unit: Unit = Field(Unit.AUTO, description="Unit of the latency histogram's edges: s, ms or auto.")
    replica_labels: tuple[LabelName, ...] = Field(
        ("replica", "prometheus_replica", "__replica__", "receive_replica", "thanos_replica"),
        description="Labels that tell two Prometheus servers apart that scrape the same. One copy is kept.",
    )
    health_checks: tuple[Annotated[str, Field(max_length=300), AfterValidator(_is_route)], ...] = Field(
        HEALTH_CHECKS,
        max_length=20,
        description="Routes of health checks and scrapes, as regular expressions: their requests are no users'.",
    )
    route_labels: tuple[LabelName, ...] = Field(ROUTE_LABELS, description="Labels that may say which route it was.")

    def of_users(self, found: Iterable[CounterSeries]) -> tuple[CounterSeries, ...]:
        """These series without those of health checks and scrapes. One without a route is of users."""
        pattern = re.compile("|".join(self.health_checks) or NO_ROUTE)
        return tuple(
            one for one in found if not any(pattern.fullmatch(one.labels.get(name, "")) for name in self.route_labels)
        )

    @property
    def health_checks_in_promql(self) -> str:
        """The same as one pattern within the quotes of a PromQL string."""
        pattern = "|".join(self.health_checks) or NO_ROUTE
        return pattern.replace("\\", "\\\\").replace('"', '\\"')

    def status(self, labels: dict[str, str]) -> str | None:
        """The status of a series' requests ("503" or "5xx"); None where it is not known."""
        said = str(labels.get(self.status_label, ""))
        return self.status_values.get(said) or status_of(said, self.status_label, self.status_codes)

    def is_in_ms(self, latency: Iterable[CounterSeries]) -> bool:
        """Whether the edges of a histogram are milliseconds."""
        if self.latency_unit is not Unit.AUTO:
            return self.latency_unit is Unit.MILLISECONDS
        series = tuple(latency)
        names = {one.labels.get(NAME, "") for one in series}
        if any(map(IN_MS.search, names)):
            return True
        return not any(map(IN_S.search, names)) and max(edges_of(series), default=0.0) > SECONDS_MAX


def edges_of(latency: Iterable[CounterSeries]) -> tuple[float, ...]:
    """The finite upper edges of a histogram's buckets, as they are written, rising."""
    return tuple(sorted({edge for one in latency if (edge := one.key.edge) is not None and math.isfinite(edge)}))


def understood(found: RevisionSamples, form: TelemetryForm) -> RevisionSamples:
    """The same samples in the judge's form. A request whose status is not known has an empty one."""
    requests = [_with_status(one, form) for one in single(form.of_users(found.requests), form)]
    latency = single(form.of_users(found.latency), form)
    if form.is_in_ms(latency):
        latency = tuple(map(_in_seconds, latency))
    cpu, memory = single(found.cpu, form), single(found.memory, form)
    return replace(found, requests=tuple(requests), latency=latency, cpu=cpu, memory=memory)


def single(found: Sequence[CounterSeries], form: TelemetryForm) -> tuple[CounterSeries, ...]:
    """One copy of each series: that of the first replica by name that has more than half as many samples as the best.

    A replica that is away has fewer, and the other one's counters go on where its own ended. One that missed a scrape
    is kept: where two clocks differ, each change between them would look like a counter that fell.
    """
    replicas = set(form.replica_labels)
    if not any(replicas & one.labels.keys() for one in found):
        return tuple(found)
    copies: dict[frozenset[tuple[str, str]], list[tuple[str, CounterSeries]]] = defaultdict(list)
    for one in found:
        which = ",".join(one.labels.get(name, "") for name in sorted(replicas))
        bare = {name: value for name, value in one.labels.items() if name not in replicas}
        copies[frozenset(bare.items())].append((which, replace(one, labels=bare)))
    return tuple(map(_steadiest, copies.values()))


def _steadiest(copies: Sequence[tuple[str, CounterSeries]]) -> CounterSeries:
    most = max(len(one.samples) for _, one in copies)
    steady = (copy for copy in copies if 2 * len(copy[1].samples) > most or not most)
    return min(steady, key=lambda copy: copy[0])[1]


def _with_status(one: CounterSeries, form: TelemetryForm) -> CounterSeries:
    status, written = form.status(one.labels) or "", one.labels.get(form.status_label, "")
    if form.status_label == STATUS and status == written:
        return one
    return replace(one, labels={**one.labels, AS_WRITTEN: str(written), STATUS: status})


def _in_seconds(one: CounterSeries) -> CounterSeries:
    if (edge := one.key.edge) is None:
        return one
    return replace(one, labels={**one.labels, "le": "+Inf" if math.isinf(edge) else f"{edge / 1000:g}"})
