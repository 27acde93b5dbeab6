"""Telemetry that makes no sense, as the judge meets it in a bake: it never promotes, whatever the labels."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.status import status_of
from playbook.analysis.telemetry import TelemetryForm, understood
from playbook.analysis.telemetry_checks import RevisionTelemetry, look_faults
from playbook.analysis.verdict import Action, Reason, Verdict, judge

POLICY = Policy()
TIMES = tuple(range(0, 901, 5))


def counter(per_s: float, **labels: str) -> CounterSeries:
    """A counter of one instance over the whole bake."""
    return CounterSeries({"instance": "a", **labels}, tuple((float(at_s), per_s * at_s) for at_s in TIMES))


def level() -> tuple[CounterSeries, ...]:
    """CPU or memory that is well."""
    return (CounterSeries({"instance": "a"}, tuple((float(at_s), 0.3) for at_s in TIMES)),)


def latency(per_s: float = 20) -> tuple[CounterSeries, ...]:
    """Every request is fast."""
    return tuple(counter(per_s, le=edge) for edge in ("2", "5", "+Inf"))


def verdict(
    *requests: CounterSeries, form: TelemetryForm | None = None, faults: tuple[str, ...] = (), **stable: str
) -> Verdict:
    """What the judge says at the end of a bake with these requests of the canary; stable is well."""
    form = form or TelemetryForm()
    seen = RevisionSamples(requests=requests, latency=latency(), cpu=level(), memory=level())
    beside = RevisionSamples(requests=(counter(180, **(stable or {"status": "200"})),))
    evidence = Evidence.start(
        service="backend", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, phi_hat=1.0, signals=()
    )
    found = evidence.observe(
        Observation(900.0, understood(seen, form), understood(beside, form), oom_kills=0, faults=faults)
    )
    return judge(found, POLICY)


def test_a_healthy_canary_is_promoted() -> None:
    """18,000 requests with a known status."""
    assert verdict(counter(20, status="200"), counter(0, status="500")).action is Action.PROMOTE


@pytest.mark.parametrize(
    "labels",
    [{"code": "500"}, {"status_code": "503"}, {"grpc_code": "Unavailable"}, {"status": ""}, {"status": "weird"}, {}],
    ids=["T1", "T2", "T3", "empty", "a word of its own", "no label"],
)
def test_requests_whose_status_is_not_known_are_held(labels: dict[str, str]) -> None:
    """T1 to T3 met in the bake: the label that was found is named."""
    found = verdict(counter(20, **labels))
    assert (found.action, found.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_FAULTY)
    assert "How 18,000 of 18,000 requests ended is not known" in found.explanation
    if labels and "status" not in labels:
        (label,) = labels
        assert f'Set telemetry.status_label = "{label}".' in found.explanation


@pytest.mark.parametrize(
    "labels",
    [{"status": "Unavailable"}, {"status": "SERVER_ERROR"}, {"status": "5XX"}, {"code": "503"}, {"grpc_code": "14"}],
)
def test_errors_in_any_words_roll_back_once_their_label_is_named(labels: dict[str, str]) -> None:
    """All 18,000 fail."""
    (label,) = labels
    assert verdict(counter(20, **labels), form=TelemetryForm(status_label=label)).action is Action.ROLLBACK


def test_a_few_requests_of_unknown_status_do_not_hold() -> None:
    """Fewer than would matter if all of them had failed: 9 of 18,000; 36 are too many."""
    assert verdict(counter(20, status="200"), counter(0.01, status="")).action is Action.PROMOTE
    assert verdict(counter(20, status="200"), counter(0.04, status="")).reason is Reason.TELEMETRY_FAULTY


@settings(max_examples=200, deadline=None)
@given(
    label=st.sampled_from(["status", "code", "status_code", "grpc_code", "outcome", "result", "x", "method"])
    | st.from_regex(r"[a-z_]{1,12}", fullmatch=True),
    word=st.sampled_from(
        ["500", "503", "5xx", "5XX", "Unavailable", "UNAVAILABLE", "14", "ServerError", "error", "", "5"]
    )
    | st.text(max_size=12),
    named=st.booleans(),
    beside=st.dictionaries(st.sampled_from(["method", "tier", "zone"]), st.sampled_from(["GET", "200", "ok"])),
)
def test_a_canary_that_fails_completely_is_never_promoted_under_any_label(
    label: str, word: str, named: bool, beside: dict[str, str]
) -> None:
    """Whatever label says it, in whatever words that do not mean a success, and whether the environment names it."""
    assume(label not in ("instance", "le", *beside))
    assume((status_of(word, label) or "5")[0] == "5" and (status_of(word) or "5")[0] == "5")
    form = TelemetryForm(status_label=label) if named else TelemetryForm()
    found = verdict(counter(20, **{label: word}, **beside), form=form)
    assert found.action in (Action.ROLLBACK, Action.INCONCLUSIVE), found.explanation


def workers(per_s: float, count: int) -> CounterSeries:
    """One series that ``count`` workers answer in turn, each with its own share of what was counted."""
    return CounterSeries(
        {"instance": "a", "status": "200"},
        tuple((float(at_s), float(int(per_s * at_s / count) + 7 * (k % count))) for k, at_s in enumerate(TIMES)),
    )


def test_workers_that_answer_in_turn_are_held() -> None:
    """T7: 2 requests/s, four workers, no error: what looks like 1,800 requests are 177."""
    found = verdict(workers(0.2, 4))
    assert (found.action, found.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_FAULTY)
    assert "several workers answer one /metrics in turn" in found.explanation


def test_restarts_are_no_workers() -> None:
    """Three in a bake are counted right."""
    samples = tuple((float(at_s), 20.0 * (at_s % 225)) for at_s in TIMES)
    assert verdict(CounterSeries({"instance": "a", "status": "200"}, samples)).action is Action.PROMOTE


def looks(*faults: tuple[str, ...], answered: bool = True) -> Verdict:
    """The verdict after a bake whose looks, 5 s apart, had these faults; the rest had none."""
    good = RevisionSamples(requests=(counter(20, status="200"),), latency=latency(), cpu=level(), memory=level())
    evidence = Evidence.start(
        service="backend", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, phi_hat=1.0, signals=()
    ).observe(Observation(0.0, good, oom_kills=0))
    for k, at_s in enumerate(TIMES[1:]):
        fault = faults[k] if k < len(faults) else ()
        canary = good if answered else RevisionSamples()
        evidence = evidence.observe(Observation(float(at_s), canary, oom_kills=0, faults=fault))
    return judge(evidence, POLICY)


WARNING = ("store 10.0.0.2:10901 unavailable",)


def test_a_warning_at_the_last_look_is_held_with_its_text() -> None:
    """T8: a partial answer is not the whole truth."""
    found = looks(*[()] * 179, WARNING)
    assert (found.action, found.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_FAULTY)
    assert "store 10.0.0.2:10901 unavailable" in found.explanation


def test_a_short_warning_is_made_good_and_a_long_one_is_not() -> None:
    """A look reaches back a minute: what was missing for less is read again."""
    assert looks(*[WARNING] * 10).action is Action.PROMOTE
    assert looks(*[WARNING] * 20).reason is Reason.TELEMETRY_FAULTY


def test_errors_roll_back_whatever_else_is_wrong() -> None:
    """What is known speaks against the canary, although not everything is known."""
    found = verdict(counter(20, status="500"), counter(20, status="weird"), faults=WARNING)
    assert found.action is Action.ROLLBACK


def test_a_fault_is_told_while_the_bake_goes_on() -> None:
    """People can mend it before the end."""
    evidence = Evidence.start(
        service="backend", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, phi_hat=1.0, signals=()
    ).observe(Observation(60.0, RevisionSamples(requests=(counter(20, code="500"),))))
    found = judge(evidence, POLICY)
    assert (found.action, found.reason, found.alert) == (Action.CONTINUE, Reason.TELEMETRY_FAULTY, True)


def test_a_label_that_is_added_in_mid_bake_loses_no_request() -> None:
    """Every series is new, and goes on from where the old one ended."""
    before = CounterSeries({"instance": "a", "status": "200"}, tuple((float(t), 20.0 * t) for t in TIMES if t < 450))
    after = CounterSeries(
        {"instance": "a", "status": "200", "region": "x"}, tuple((float(t), 20.0 * t) for t in TIMES if t >= 450)
    )
    assert verdict(before, after).action is Action.PROMOTE


def test_faults_of_one_look_are_found_as_those_before_the_shift() -> None:
    """The same checks: the observer gives them to the evidence."""
    seen = RevisionSamples(requests=(counter(20, code="500"),), latency=latency())
    faults = look_faults(RevisionTelemetry("new", seen, warnings=WARNING), TelemetryForm(), POLICY)
    assert len(faults) == 2
