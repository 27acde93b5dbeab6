"""`shared_cause = "hold"` and a signal that rolls back: Cloud Run's own 5xx, once a minute and three minutes late."""

from collections.abc import Callable, Sequence

import pytest

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy, SharedCause
from playbook.analysis.samples import Sides
from playbook.analysis.verdict import Action, Reason, Verdict, judge

HOLD = Policy(shared_cause=SharedCause.HOLD, allow_unseen=("cpu", "memory", "latency"))
LATE_S = 180
FROM_S, UNTIL_S = 300, 360
Share = Callable[[float], float]


def in_outage(share: float) -> Share:
    """So many requests fail while stable fails."""
    return lambda at_s: share if FROM_S < at_s <= UNTIL_S else 0.0


def counters(label: str, rate: int, failing: Share, times: Sequence[int]) -> tuple[CounterSeries, ...]:
    """Good and bad requests as cumulative counts at these times."""
    good: list[tuple[float, float]] = []
    bad: list[tuple[float, float]] = []
    fine, failed = 1000.0, 10.0
    for before_s, at_s in zip([times[0], *times], times, strict=False):
        asked = (at_s - before_s) * rate
        lost = sum(rate * failing(second) for second in range(before_s + 1, at_s + 1))
        fine, failed = fine + asked - lost, failed + lost
        good.append((float(at_s), round(fine)))
        bad.append((float(at_s), round(failed)))
    return CounterSeries({label: "2xx"}, tuple(good)), CounterSeries({label: "5xx"}, tuple(bad))


def told(own: Share, cloud_run: Share) -> list[Verdict]:
    """What the judge says, look by look. ``own``: what the application counts as failed, of both revisions;
    ``cloud_run``: what Cloud Run answers of the canary."""
    evidence = Evidence.start(
        service="s", canary="new", stable=("old",), bake_start_s=0.0, policy=HOLD, phi_hat=1.0, canary_percent=10
    )
    requests = counters("status", 20, own, range(-5, 905, 5)), counters("status", 180, own, range(-5, 905, 5))
    whole = counters("response_code_class", 20, cloud_run, range(-120, 905, 60))
    verdicts = []
    for now_s in range(0, 905, 5):
        sides = [RevisionSamples(_until(group, now_s)) for group in requests]
        more = {"cloud_run_requests": Sides(_until(whole, now_s - LATE_S))}
        evidence = evidence.observe(Observation(float(now_s), *sides, oom_kills=0, more=more))
        verdicts.append(judge(evidence, HOLD))
    return verdicts


def _until(group: Sequence[CounterSeries], now_s: float) -> tuple[CounterSeries, ...]:
    return tuple(CounterSeries(one.labels, tuple(s for s in one.samples if s[0] <= now_s)) for one in group)


@pytest.mark.parametrize("share", [0.02, 0.2, 1.0])
def test_what_cloud_run_counted_in_a_shared_outage_is_set_aside_too(share: float) -> None:
    """The minute in which stable failed comes three minutes later: nobody is asked, and a healthy rest promotes."""
    verdicts = told(in_outage(share), in_outage(share))
    assert (verdicts[-1].action, verdicts[-1].reason) == (Action.PROMOTE, Reason.HEALTHY)
    assert {one.action for one in verdicts[:-1]} == {Action.CONTINUE}
    assert Reason.SIGNAL_HELD not in {one.reason for one in verdicts}


def test_a_canary_that_fails_on_after_the_outage_is_rolled_back() -> None:
    """By Cloud Run's counts alone: the application does not count what fails."""
    verdicts = told(in_outage(0.2), lambda at_s: 0.2 if at_s > FROM_S else 0.0)
    last = next(one for one in verdicts if one.action is not Action.CONTINUE)
    assert (last.action, last.signal) == (Action.ROLLBACK, "Cloud Run's own 5xx")
    assert last.at_s <= UNTIL_S + 2 * 60 + LATE_S


def test_a_canary_that_failed_before_the_outage_is_rolled_back() -> None:
    """A later outage excuses nothing."""
    verdicts = told(in_outage(0.2), lambda at_s: 0.2 if at_s <= 240 else in_outage(0.2)(at_s))
    last = next(one for one in verdicts if one.action is not Action.CONTINUE)
    assert (last.action, last.signal) == (Action.ROLLBACK, "Cloud Run's own 5xx")
