"""Telemetry that makes no sense, case by case: one sentence with the cause and the fix."""

from dataclasses import replace
from pathlib import Path

import pytest

from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries, RevisionSamples
from playbook.analysis.telemetry import TelemetryForm
from playbook.analysis.telemetry_checks import NOT_THE_CODE, RevisionTelemetry, faults, is_about_telemetry

POLICY, FORM = Policy(), TelemetryForm()
NOW_S = 60.0
TIMES = tuple(range(0, 61, 5))
EDGES = ("0.5", "2", "5", "+Inf")


def series(*values: float, **labels: str) -> CounterSeries:
    """One series of instance a, sampled every 5 s; one value: a counter that grows to it."""
    counts = values if len(values) > 1 else [values[0] * at_s / NOW_S for at_s in TIMES]
    return CounterSeries({"instance": "a", **labels}, tuple(zip(map(float, TIMES), counts, strict=False)))


def histogram(*edges: str, **labels: str) -> tuple[CounterSeries, ...]:
    """Buckets with these edges."""
    return tuple(series(20, le=edge, **labels) for edge in edges)


GOOD = RevisionTelemetry(
    revision="v2",
    samples=RevisionSamples(
        requests=(series(20, status="200"), series(0, status="500")),
        latency=histogram(*EDGES),
        cpu=(series(0.3),),
        memory=(series(0.3),),
    ),
    up=(CounterSeries({"instance": "a"}, tuple((float(at_s), 1.0) for at_s in TIMES)),),
)
STABLE = replace(GOOD, revision="v1")


def seen(**samples: tuple[CounterSeries, ...]) -> RevisionTelemetry:
    """Good telemetry but for these samples."""
    return replace(GOOD, samples=replace(GOOD.samples, **samples))


def problems(new: RevisionTelemetry, stable: RevisionTelemetry | None = STABLE, form: TelemetryForm = FORM) -> str:
    """Every fault, in one text."""
    return "\n".join(faults(new, stable, form, POLICY, NOW_S))


def test_telemetry_that_makes_sense_has_no_fault() -> None:
    """With stable beside it, and alone."""
    assert problems(GOOD) == problems(GOOD, None) == ""


@pytest.mark.parametrize(
    ("labels", "there"),
    [
        ({"code": "500"}, "code (500)"),
        ({"status_code": "503"}, "status_code (503)"),
        ({"grpc_code": "Unavailable"}, "grpc_code (Unavailable)"),
        ({"http_status": "5xx"}, "http_status (5xx)"),
        ({"outcome": "SERVER_ERROR"}, "outcome (SERVER_ERROR)"),
    ],
    ids=["T1", "T2", "T3", "a class", "Micrometer"],
)
def test_a_status_under_another_label_is_named(labels: dict[str, str], there: str) -> None:
    """T1 to T3: refused before the shift, with the label that was found and the line to add; then it is read."""
    new, label = seen(requests=(series(18000, **labels),)), next(iter(labels))
    assert f"there is {there}." in problems(new)
    assert f'Set telemetry.status_label = "{label}".' in problems(new)
    assert problems(new, form=TelemetryForm(status_label=label)) == ""


def test_of_several_labels_the_usual_one_is_proposed() -> None:
    """Others that would do are named too; what says no status is not."""
    new = seen(requests=(series(10, method="GET", code="500", outcome="SERVER_ERROR", tier="gold"),))
    assert "there is code (500), outcome (SERVER_ERROR)." in problems(new)
    assert 'telemetry.status_label = "code"' in problems(new)


@pytest.mark.parametrize("said", ["", "weird", "0", "000", "6xx", "None"])
def test_a_status_that_is_none_is_shown(said: str) -> None:
    """It could be an error, so it is not taken for a success."""
    new = seen(requests=(series(10, status="200"), series(10, status=said)))
    assert f"v2: status = {said!r} does not say how a request ended" in problems(new)
    assert problems(new, form=TelemetryForm(status_values={said: "4xx"})) == ""


def test_an_unknown_status_that_counted_nothing_does_not_matter() -> None:
    """Libraries make counters at zero; one label that is known is enough then."""
    assert problems(seen(requests=(series(10, status="200"), series(0, status="unknown_status")))) == ""


def test_counters_without_any_status_are_refused() -> None:
    """With the labels that are there."""
    text = problems(seen(requests=(series(10, method="GET", route="/a"),)))
    assert "no label of the request counters says how a request ended; there are instance, method, route." in text


@pytest.mark.parametrize(
    ("edges", "text"),
    [
        ((".1", ".5", "1", "+Inf"), "edges at 2 and 5 s are missing; its edges are 0.1, 0.5, 1."),
        (("1", "2.5", "5", "10", "+Inf"), "edge at 2 s is missing; its edges are 1, 2.5, 5, 10."),
        (("+Inf",), "edges at 2 and 5 s are missing; its edges are only +Inf."),
        (("100", "500", "1000", "+Inf"), "edges at 2 and 5 s are missing; its edges are 0.1, 0.5, 1."),
    ],
    ids=["T9, fastapi-instrumentator", "client_golang", "none", "milliseconds"],
)
def test_edges_that_the_limits_need_are_missing(edges: tuple[str, ...], text: str) -> None:
    """T9: each line of the policy is an edge, or its ratio is not measured."""
    assert text in problems(seen(latency=histogram(*edges)))


def test_a_histogram_without_its_last_bucket_is_named() -> None:
    """Without le="+Inf" no request has a duration: 15 minutes of a bake would show nothing."""
    assert 'the latency histogram has no bucket le="+Inf"' in problems(seen(latency=histogram("0.5", "2", "5")))
    assert problems(seen(latency=histogram("0.5", "2.0", "5.0", "inf"))) == ""


def test_edges_in_milliseconds_do() -> None:
    """2000 and 5000 are 2 and 5 s."""
    assert problems(seen(latency=histogram("500", "2000", "5000", "+Inf"))) == ""


def test_a_name_that_says_seconds_over_edges_in_milliseconds_is_a_fault() -> None:
    """No request takes longer than an hour."""
    new = seen(latency=histogram("2", "5", "10000", "+Inf", __name__="request_seconds_bucket"))
    assert 'Set telemetry.latency_unit = "ms".' in problems(new)


def test_a_native_histogram_has_no_buckets() -> None:
    """It is said so; so is a summary, which has none either."""
    assert "a native histogram only" in problems(replace(seen(latency=()), is_native=True))
    assert "a metric without buckets (no label le) only" in problems(seen(latency=(series(10, quantile="0.95"),)))


def test_requests_without_a_duration_are_a_wrong_query() -> None:
    """Requests were counted, and no series is a latency."""
    assert "20 requests were counted and none has a duration" in problems(seen(latency=()))


def test_counters_of_several_workers_fall_at_every_other_scrape() -> None:
    """T7: four workers answer one /metrics in turn. One fall is a restart, and fine."""
    workers = [(40, 12, 55, 31)[k % 4] + k for k in range(len(TIMES))]
    text = problems(seen(requests=(series(*workers, status="200"),)))
    assert "several workers answer one /metrics in turn" in text
    assert "multiprocess" in text
    restarted = [*range(10, 16), *range(7)]
    assert problems(seen(requests=(series(*restarted, status="200"),))) == ""


def test_a_partial_answer_is_told_with_its_warning() -> None:
    """T8: HTTP 200, and a store is missing from it."""
    text = problems(replace(GOOD, warnings=("store 10.0.0.2:10901 unavailable",) * 3))
    assert text.count("store 10.0.0.2:10901 unavailable") == 1


def test_series_that_come_twice_are_told_apart_by_their_label() -> None:
    """Replicated Prometheus servers without deduplication: known labels are merged, others are named."""
    twice = tuple(series(500, status="200", prometheus=name) for name in ("mon-0", "mon-1"))
    text = problems(seen(requests=twice))
    assert "every request is counted 2 times: the series differ in prometheus (mon-0, mon-1) alone" in text
    assert problems(seen(requests=twice), form=TelemetryForm(replica_labels=("prometheus",))) == ""
    assert problems(seen(requests=tuple(series(500, status="200", replica=name) for name in "ab"))) == ""


def test_series_of_two_methods_are_not_the_same_counter() -> None:
    """However few they are, and however alike by chance."""
    assert problems(seen(requests=tuple(series(3, status="200", method=name) for name in ("GET", "PUT")))) == ""
    found = (series(500, status="200", method="GET"), series(470, status="200", method="PUT"))
    assert problems(seen(requests=found)) == ""


def test_a_sidecar_that_scrapes_every_30_s_is_told() -> None:
    """Google's sidecar does by default; the policy says 5."""
    slow = (CounterSeries({"instance": "a"}, ((0.0, 1.0), (30.0, 1.0), (60.0, 1.0))),)
    text = problems(replace(GOOD, up=slow))
    assert "it is scraped every 30 s, and policy.scrape_s is 5." in text
    assert "policy.scrape_s to 30" in text


def test_one_late_scrape_is_no_other_interval() -> None:
    """The shortest of the gaps counts, and one gap alone says nothing without stable's."""
    late = (CounterSeries({"instance": "a"}, ((0.0, 1.0), (9.0, 1.0), (14.0, 1.0))),)
    assert problems(replace(GOOD, up=late)) == ""
    assert problems(replace(GOOD, up=(CounterSeries({}, ((50.0, 1.0), (59.0, 1.0))),))) == ""


def test_cpu_and_memory_that_no_revision_has_are_a_wrong_query() -> None:
    """T15. They may be minutes late for a new revision: stable's show that they will come."""
    new = seen(cpu=(), memory=())
    assert problems(new) == ""
    text = problems(new, replace(STABLE, samples=replace(STABLE.samples, cpu=(), memory=())))
    assert 'CPU has no sample of it or of v1. Correct queries.cpu, or say policy.allow_unseen = ["cpu"].' in text
    assert "memory has no sample of it or of v1. Correct queries.memory," in text
    assert "CPU has no sample of it. Correct queries.cpu," in problems(new, None)


def test_a_counter_that_no_revision_has_is_a_wrong_query() -> None:
    """A counter may be born with its first request, so stable's is enough."""
    nothing = replace(STABLE, samples=replace(STABLE.samples, requests=()))
    assert problems(seen(requests=())) == ""
    assert "no series is its request counter, nor v1's" in problems(seen(requests=()), nothing)


def test_old_samples_are_told() -> None:
    """A Prometheus that lags further behind than the judge waits."""
    assert "its newest sample is 90 s old; the limit is 60 s" in "".join(faults(GOOD, STABLE, FORM, POLICY, 150.0))


@pytest.mark.parametrize(
    "stable",
    [
        replace(STABLE, warnings=("half of it",)),
        replace(STABLE, samples=replace(STABLE.samples, requests=(series(9, code="500"),))),
        replace(STABLE, samples=replace(STABLE.samples, latency=histogram("1"))),
        replace(STABLE, samples=RevisionSamples(), up=()),
    ],
    ids=["partial", "another label", "other edges", "nothing"],
)
def test_what_is_wrong_with_stable_alone_is_no_fault(stable: RevisionTelemetry) -> None:
    """The new revision can be judged without it."""
    assert problems(GOOD, stable) == ""


def test_a_series_of_numbers_that_are_none_is_no_crash() -> None:
    """NaN counts as absent."""
    assert problems(seen(requests=(series(*[float("nan")] * 13, status="200"),))) == ""


def up(*at_s: float) -> tuple[CounterSeries, ...]:
    """Prometheus's own samples at these seconds."""
    return (CounterSeries({"instance": "a"}, tuple((one, 1.0) for one in at_s)),)


def test_a_scrape_interval_up_to_half_as_long_again_is_fine() -> None:
    """7.5 s where the policy says 5; one gap of the new revision is looked at together with stable's."""
    assert problems(replace(GOOD, up=up(45, 52.5, 60))) == ""
    assert "it is scraped every 8 s" in problems(replace(GOOD, up=up(44, 52, 60)))
    once = replace(GOOD, up=up(30, 60))
    assert "it is scraped every 30 s" in problems(once, replace(STABLE, up=up(0, 30, 60)))
    assert problems(once, None) == ""


def test_a_sample_as_old_as_the_limit_is_not_too_old() -> None:
    """60 s."""
    assert faults(GOOD, STABLE, FORM, POLICY, 120.0) == ()
    assert faults(GOOD, STABLE, FORM, POLICY, 121.0) != ()


def test_an_unknown_status_that_is_the_only_one_is_told_before_the_first_request() -> None:
    """It counted nothing yet, and will."""
    assert "status = 'weird' does not say" in problems(seen(requests=(series(0, status="weird"),)))


@pytest.mark.parametrize(("count", "is_told"), [(100, True), (99, False)])
def test_two_series_are_one_counter_from_100_requests_on(count: int, is_told: bool) -> None:
    """Fewer may be alike by chance."""
    twice = tuple(series(count, status="200", prometheus=name) for name in ("mon-0", "mon-1"))
    assert ("every request is counted 2 times" in problems(seen(requests=twice))) is is_told


@pytest.mark.parametrize(("count", "words"), [(5, "b3, b4, instance."), (6, "b3, b4, b5 and 1 more.")])
def test_of_many_labels_six_are_named(count: int, words: str) -> None:
    """The rest are counted."""
    labels = {f"b{number}": "x" for number in range(count)}
    assert words in problems(seen(requests=(series(10, **labels),)))


@pytest.mark.parametrize(("count", "is_told"), [(100, True), (99, False)])
def test_a_service_with_health_checks_alone_is_told(count: int, is_told: bool) -> None:
    """Of what serves users; a new revision has none yet, and where nothing is baked none are needed."""
    new = replace(GOOD, left_out=(series(count, handler="/health"), series(0, handler="/metrics")))
    text = f"v2: all its {count} requests were health checks or scrapes (/health, /metrics) and none was a user's"
    assert (text in problems(new, None)) is is_told
    assert problems(new) == problems(replace(new, samples=replace(new.samples, requests=()))) == ""
    assert faults(new, None, FORM, POLICY.model_copy(update={"bake_s": 0}), NOW_S) == ()


def test_a_release_that_was_taken_back_for_its_telemetry_is_known_by_its_reason() -> None:
    """The code is not blamed."""
    assert is_about_telemetry(NOT_THE_CODE)
    assert not is_about_telemetry("Error rate 4.8 % is above 0.5 %.")


PAGE = Path(__file__).resolve().parents[3] / "docs" / "judge-cases.md"
SLOW_SCRAPES = (CounterSeries({"instance": "a"}, ((0.0, 1.0), (30.0, 1.0), (60.0, 1.0))),)
UNLOADED = replace(STABLE, samples=replace(STABLE.samples, cpu=(), memory=()))
WORKERS = [(40, 12, 55, 31)[k % 4] + k for k in range(len(TIMES))]
CASES: dict[str, tuple[RevisionTelemetry, RevisionTelemetry]] = {
    "statuses under the label `code` (T1)": (seen(requests=(series(18000, code="500"),)), STABLE),
    "statuses under the label `status_code` (T2)": (seen(requests=(series(18000, status_code="503"),)), STABLE),
    "gRPC words as statuses (T3)": (seen(requests=(series(18000, grpc_code="Unavailable"),)), STABLE),
    "no label says how a request ended": (seen(requests=(series(10, method="GET", route="/a"),)), STABLE),
    "a status that is none": (seen(requests=(series(10, status="200"), series(10, status="weird"))), STABLE),
    "edges .1 .5 1 +Inf (T9)": (seen(latency=histogram(".1", ".5", "1", "+Inf")), STABLE),
    "edges in milliseconds under a name that says seconds": (
        seen(latency=histogram("2", "5", "10000", "+Inf", __name__="request_seconds_bucket")),
        STABLE,
    ),
    "a native histogram only": (replace(seen(latency=()), is_native=True), STABLE),
    "requests without a duration": (seen(latency=()), STABLE),
    "four workers answer one /metrics in turn (T7)": (seen(requests=(series(*WORKERS, status="200"),)), STABLE),
    "the instance label is another one at every scrape": (
        seen(
            requests=tuple(
                CounterSeries({"instance": f"request-{at_s}", "status": "200"}, ((float(at_s), float(at_s)),))
                for at_s in TIMES
            )
        ),
        STABLE,
    ),
    "the histogram has other edges at every other scrape": (
        seen(
            latency=tuple(
                CounterSeries({"instance": "a", "le": le}, tuple((float(t), float(t)) for t in TIMES if t % 10 in some))
                for le, some in (("2", (0, 5)), ("2.5", (5,)), ("5", (0, 5)), ("+Inf", (0, 5)))
            )
        ),
        STABLE,
    ),
    "a store is missing from the answer (T8)": (replace(GOOD, warnings=("store 10.0.0.2:10901 unavailable",)), STABLE),
    "an HA pair without deduplication": (
        seen(requests=tuple(series(500, status="200", prometheus=name) for name in ("mon-0", "mon-1"))),
        STABLE,
    ),
    "scraped every 30 s, the policy says 5": (replace(GOOD, up=SLOW_SCRAPES), STABLE),
    "CPU and memory never seen (T15)": (seen(cpu=(), memory=()), UNLOADED),
    "no series is the request counter": (
        seen(requests=()),
        replace(STABLE, samples=replace(STABLE.samples, requests=())),
    ),
}


def test_the_page_shows_these_cases() -> None:
    """docs/judge-cases.md has the table that this module makes; copy it from the failure."""
    rows = ["| case | before the shift | sentence |", "|---|---|---|"]
    for name, (new, stable) in CASES.items():
        found = faults(new, stable, FORM, POLICY, NOW_S)
        assert found, name
        rows.append(f"| {name} | reverted, no user was sent there | {' '.join(found)} |")
    table = "\n".join(rows)
    assert table in PAGE.read_text(encoding="utf-8"), table


@pytest.mark.parametrize("label", ["project_id", "env"])
def test_another_environments_revision_of_the_same_name_is_no_canary(label: str) -> None:
    """One Prometheus, or one metrics scope, for staging and production: staging's load test must not thin out errors.

    A label with several values on one instance is the application's own.
    """

    def of(where: str, instance: str) -> tuple[CounterSeries, ...]:
        return tuple(
            replace(one, labels={**one.labels, label: where, "instance": instance}) for one in GOOD.samples.requests
        )

    found = problems(seen(requests=of("production", "a") + of("staging", "b")))
    assert f"{label} = 'production', 'staging'" in found
    assert f'Add {label}="…" to the selectors in [queries].' in found
    assert problems(seen(requests=of("production", "a") + of("production", "b"))) == ""
    assert label not in problems(seen(requests=of("one customer", "a") + of("another", "a")))
