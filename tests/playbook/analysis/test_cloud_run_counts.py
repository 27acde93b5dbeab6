"""A service without metrics of its own (a frontend): Cloud Run's counts, once a minute and three minutes late."""

from collections.abc import Callable

import pytest

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Sides
from playbook.analysis.signals import DEFAULT_SIGNALS
from playbook.analysis.verdict import Action, Reason, Verdict, judge
from playbook.release.version import Telemetry

FRONTEND = Telemetry.CLOUD_RUN
POLICY = FRONTEND.policy(Policy(allow_unseen=("cpu", "memory")))
SIGNALS = tuple(one for one in DEFAULT_SIGNALS if FRONTEND.offers(one.queries))
LATE_S = 180
PER_S = 20
Share = Callable[[float], float]


def counts(rate: float, failing: Share, since_s: float, now_s: float) -> tuple[CounterSeries, ...]:
    """Cumulative counts by class of status, a value each minute, as far as they are visible by now."""
    good = bad = 0.0
    found: dict[str, list[tuple[float, float]]] = {"2xx": [], "5xx": []}
    for at_s in range(int(since_s), int(now_s) - LATE_S + 1, 60):
        share = failing(at_s)
        good, bad = good + 60 * rate * (1 - share), bad + 60 * rate * share
        found["2xx"].append((float(at_s), float(int(good))))
        if bad:
            found["5xx"].append((float(at_s), float(int(bad))))
    series = (CounterSeries({"response_code_class": name}, tuple(values)) for name, values in found.items() if values)
    return FRONTEND.with_status(series)


def told(failing: Share, stable: Share = lambda at_s: 0.0) -> Verdict:
    """What the judge says, look by look, until it has decided."""
    evidence = Evidence.start(
        service="frontend",
        canary="new",
        stable=("old",),
        bake_start_s=0.0,
        policy=POLICY,
        phi_hat=1.0,
        signals=SIGNALS,
    )
    for now_s in range(0, 905, 15):
        canary = RevisionSamples(requests=counts(PER_S, failing, 30, now_s))
        rest = RevisionSamples(requests=counts(9 * PER_S, stable, -570, now_s))
        more = {"cloud_run_requests": (canary.requests, rest.requests)}
        look = Observation(float(now_s), canary, rest, 0, more={name: _sides(*both) for name, both in more.items()})
        verdict = judge(evidence := evidence.observe(look), POLICY)
        if verdict.action is not Action.CONTINUE:
            break
    return verdict


def _sides(canary: tuple[CounterSeries, ...], stable: tuple[CounterSeries, ...]) -> Sides:
    return Sides(canary, stable)


@pytest.mark.parametrize(
    ("failing", "action", "within_s"),
    [
        (lambda at_s: 0.0, Action.PROMOTE, 900),
        (lambda at_s: 1.0, Action.ROLLBACK, 330),
        (lambda at_s: 0.05, Action.ROLLBACK, 390),
        (lambda at_s: 0.3 if at_s > 300 else 0.0, Action.ROLLBACK, 630),
    ],
    ids=["healthy", "everything fails", "5 %", "30 % from 300 s on"],
)
def test_the_counts_decide_some_minutes_later(failing: Share, action: Action, within_s: float) -> None:
    """Three minutes for a sample to be visible, and one or two to have two of them."""
    verdict = told(failing)
    assert verdict.action is action, verdict.explanation
    assert verdict.at_s <= within_s


def test_without_any_count_a_person_decides() -> None:
    """Nothing seen is not health."""
    evidence = Evidence.start(
        service="frontend", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, signals=SIGNALS
    )
    verdict = judge(evidence.observe(Observation(900.0, oom_kills=0)), POLICY)
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_MISSING)
