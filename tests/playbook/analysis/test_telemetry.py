"""The telemetry of an environment in the judge's form: status, seconds, one copy of each series."""

import re
from dataclasses import replace

import pytest
from pydantic import ValidationError

from playbook.analysis.samples import CounterSeries, RevisionSamples
from playbook.analysis.telemetry import ROUTE_LABELS, TelemetryForm, understood


def series(value: float = 10.0, **labels: str) -> CounterSeries:
    """One series with two samples."""
    return CounterSeries({"instance": "a", **labels}, ((0.0, 0.0), (5.0, value)))


def statuses(form: TelemetryForm, *found: CounterSeries) -> list[str]:
    """The status of each series, as the judge sees it."""
    return [one.labels.get("status", "") for one in understood(RevisionSamples(requests=found), form).requests]


@pytest.mark.parametrize(
    ("label", "said", "status"),
    [
        ("status", "503", "503"),
        ("status", "5XX", "5xx"),
        ("code", "500", "500"),
        ("status_code", "503", "503"),
        ("grpc_code", "Unavailable", "503"),
        ("grpc_code", "14", "503"),
        ("status", "weird", ""),
        ("status", "", ""),
    ],
)
def test_the_label_that_is_named_says_the_status(label: str, said: str, status: str) -> None:
    """Whatever it is called, and in whatever words; unknown words have none."""
    assert statuses(TelemetryForm(status_label=label), series(**{label: said})) == [status]


@pytest.mark.parametrize("label", ROUTE_LABELS)
@pytest.mark.parametrize(
    "route",
    [
        *(
            "/health",
            "/healthz",
            "/healthcheck",
            "/api/health",
            "/api/v1/health-check/",
            "/health/liveness",
            "/-/ready",
        ),
        *("/actuator/health", "/actuator/health/readiness", "/q/health/live", "/livez", "/startup", "/ping"),
        *("/metrics", "/actuator/prometheus", "grpc.health.v1.Health"),
    ],
)
def test_requests_of_health_checks_are_no_users(label: str, route: str) -> None:
    """Under each label that exporters use; so are scrapes of an application that counts them."""
    good, check = series(status="200", **{label: "/api/analyze"}), series(status="200", **{label: route})
    bucket = series(le="2", **{label: route})
    found = understood(RevisionSamples(requests=(good, check), latency=(bucket,)), TelemetryForm())
    assert (found.requests, found.latency) == ((good,), ())


@pytest.mark.parametrize(
    "route",
    ["", "/", "/api/ping", "/api/live", "/healthcare", "/health/records", "/api/users/health", "/metrics/{id}", "none"],
)
def test_requests_that_only_sound_like_health_checks_are_users(route: str) -> None:
    """As is every request whose route is not told."""
    for one in (series(status="200", handler=route), series(status="200"), series(status="200", tier="/health")):
        assert understood(RevisionSamples(requests=(one,)), TelemetryForm()).requests == (one,)


def test_what_a_health_check_is_can_be_said() -> None:
    """Routes and labels of one's own take the place of the usual ones; no route: everything counts."""
    form = TelemetryForm(health_checks=("/internal/.*",), route_labels=("view",))
    one, other = series(status="200", view="/internal/warmup"), series(status="200", handler="/health")
    assert form.of_users((one, other)) == (other,)
    assert TelemetryForm(health_checks=()).of_users((one, other)) == (one, other)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("/health(", "is no regular expression"),
        (".*", "also matches users' requests"),
        ("/.*", "also matches users' requests"),
        ("/(?!api).+", "Prometheus has no groups such as"),
        (r"/(a)\1", "Prometheus has no groups such as"),
    ],
)
def test_a_pattern_that_would_leave_out_users_is_refused(pattern: str, said: str) -> None:
    """As is one that Prometheus reads in another way, or not at all."""
    with pytest.raises(ValidationError, match=re.escape(said)):
        TelemetryForm(health_checks=(pattern,))


def test_a_label_that_is_not_named_says_nothing() -> None:
    """A guess could be wrong: the environment file names the label."""
    assert statuses(TelemetryForm(), series(code="500")) == [""]


def test_words_of_ones_own_can_be_given_a_meaning() -> None:
    """They go before the known ones."""
    form = TelemetryForm(status_values={"partial": "2xx", "error": "4xx"})
    assert statuses(form, series(status="partial"), series(status="error")) == ["2xx", "4xx"]
    with pytest.raises(ValidationError):
        TelemetryForm(status_values={"partial": "fine"})


def test_two_words_for_one_status_stay_two_series() -> None:
    """Internal and DataLoss are both 500: as one series they would look like a counter that falls."""
    found = understood(
        RevisionSamples(requests=(series(grpc_code="Internal"), series(grpc_code="DataLoss"))),
        TelemetryForm(status_label="grpc_code"),
    ).requests
    assert {one.labels["status"] for one in found} == {"500"}
    assert len({frozenset(one.labels.items()) for one in found}) == 2


def test_what_is_in_form_already_is_not_touched() -> None:
    """Looking is frequent."""
    found = RevisionSamples(requests=(series(status="200"),), latency=(series(le="2"), series(le="+Inf")))
    assert understood(found, TelemetryForm()).requests[0] is found.requests[0]


@pytest.mark.parametrize(
    ("name", "edges", "unit", "seconds"),
    [
        ("", ("100", "2000", "5000", "+Inf"), "auto", ["0.1", "2", "5", "+Inf"]),
        ("http_request_duration_ms_bucket", ("1", "2", "5"), "auto", ["0.001", "0.002", "0.005"]),
        ("latency_milliseconds_bucket", ("5",), "auto", ["0.005"]),
        ("http_request_duration_seconds_bucket", ("2", "5", "600"), "auto", ["2", "5", "600"]),
        ("", ("2", "5", "10"), "auto", ["2", "5", "10"]),
        ("", ("2", "5", "10"), "ms", ["0.002", "0.005", "0.01"]),
        ("request_ms_bucket", ("2", "5"), "s", ["2", "5"]),
    ],
)
def test_edges_in_milliseconds_are_recognised(name: str, edges: tuple[str, ...], unit: str, seconds: list[str]) -> None:
    """By the metric's name, else by an edge that no request reaches in seconds; or as the environment says."""
    found = RevisionSamples(latency=tuple(series(le=edge, __name__=name) for edge in edges))
    form = TelemetryForm.model_validate({"latency_unit": unit})
    assert [one.labels["le"] for one in understood(found, form).latency] == seconds


def test_one_copy_of_replicated_series_is_kept() -> None:
    """Two Prometheus servers that scrape the same count every request twice; one that is behind is not taken."""
    behind = CounterSeries({"instance": "a", "status": "200", "replica": "a"}, ((0.0, 0.0),))
    found = RevisionSamples(requests=(behind, series(status="200", replica="b"), series(status="500", replica="a")))
    kept = understood(found, TelemetryForm()).requests
    assert [one.labels for one in kept] == [
        {"instance": "a", "status": "200"},
        {"instance": "a", "status": "500"},
    ]
    assert len(kept[0].samples) == 2


def test_a_replica_that_missed_a_scrape_is_kept() -> None:
    """Clocks differ: a change to the other one and back would look like a counter that fell."""
    times = [5.0 * k for k in range(12)]
    missed = CounterSeries({"instance": "a", "status": "200", "replica": "a"}, tuple((t, t) for t in times[1:]))
    ahead = CounterSeries({"instance": "a", "status": "200", "replica": "b"}, tuple((t + 7, t) for t in times))
    (kept,) = understood(RevisionSamples(requests=(ahead, missed)), TelemetryForm()).requests
    assert kept.samples == missed.samples
    away = replace(missed, samples=missed.samples[:5])
    (kept,) = understood(RevisionSamples(requests=(ahead, away)), TelemetryForm()).requests
    assert kept.samples == ahead.samples


def test_replicas_of_another_name_can_be_named() -> None:
    """The usual names of the label are known, others are set."""
    found = RevisionSamples(requests=tuple(series(status="200", prometheus=name) for name in "ab"))
    assert len(understood(found, TelemetryForm()).requests) == 2
    assert len(understood(found, TelemetryForm(replica_labels=("prometheus",))).requests) == 1
