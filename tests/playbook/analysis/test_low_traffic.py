"""The step `promote` for services with few requests: whose turn it is, what must be ruled out, and what is said."""

import pytest

from playbook.analysis.low_traffic import due, promoted
from playbook.analysis.policy import LowTraffic, Policy
from playbook.analysis.sequential import small_fault_bound, upper_bound
from playbook.analysis.verdict import Action, Reason, judge

HISTORY = {"phi_hat": 1.0}
UNKNOWN = {"phi_hat": 20.0}


def ended(bake, ticks, policy=None, **more):
    """The verdict at the end of a bake of 180 scrapes."""
    return judge(bake(policy or Policy(), **more).folded(ticks), policy or Policy())


def scrapes(tick, requests, errors=0, size=1, count=180):
    """``count`` scrapes; ``requests`` come in groups of ``size``, evenly spread, and one in the first groups fails."""
    groups = [k * requests // size // count != (k - 1) * requests // size // count for k in range(1, count + 1)]
    failing = [group and sum(groups[:k]) < errors for k, group in enumerate(groups)]
    return [tick(n=size * group, x=int(bad), m=9) for group, bad in zip(groups, failing, strict=True)]


@pytest.mark.parametrize("past", [HISTORY, UNKNOWN], ids=["errors come alone", "nothing is known of them"])
@pytest.mark.parametrize(("clean", "action"), [(77, Action.PROMOTE), (76, Action.INCONCLUSIVE)])
def test_77_clean_requests_rule_out_5_percent(bake, tick, past, clean, action):
    """0.95^77 is below 2 %, 0.95^76 is not; a scrape with one request says as much as the request."""
    verdict = ended(bake, scrapes(tick, clean), **past)
    (after,) = promoted([verdict], Policy())
    assert (verdict.reason, after.action) == (Reason.TOO_FEW_REQUESTS, action)


def test_scrapes_count_once_where_errors_may_come_together(bake, tick):
    """400 requests in 40 scrapes are 40 pieces of evidence where bursts are known, and 400 where they are not."""
    ticks = scrapes(tick, 400, size=10)
    assert ended(bake, ticks, **UNKNOWN).ruled_out == pytest.approx(upper_bound(40, 0, 1.0, 0.02))
    assert ended(bake, ticks, **HISTORY).ruled_out == pytest.approx(upper_bound(400, 0, 1.0, 0.02))


def test_a_burst_is_one_bad_scrape():
    """However many errors it holds."""
    rounds = [(10.0, 0.0)] * 150 + [(10.0, 9.0)]
    assert small_fault_bound(rounds, 20.0, 0.02) == pytest.approx(upper_bound(151, 1, 1.0, 0.02))


@pytest.mark.parametrize(
    ("requests", "errors", "may"), [(170, 0, True), (180, 1, False), (360, 1, True), (540, 2, False), (1000, 2, True)]
)
def test_an_error_ratio_above_the_line_is_a_persons(bake, tick, requests, errors, may):
    """1 of 180 is more than 0.5 %, and 2 of 540 more than 0.1 % and one: 5 % is ruled out, and neither is promoted."""
    verdict = ended(bake, scrapes(tick, requests, errors, size=10), **HISTORY)
    assert verdict.action is Action.INCONCLUSIVE
    assert (promoted([verdict], Policy())[0].action is Action.PROMOTE) is may


def test_what_is_and_is_not_ruled_out_is_said(bake, tick):
    """The smallest fault that is ruled out, and the largest that is not."""
    (after,) = promoted([ended(bake, [tick(n=1 + (k < 40), m=9) for k in range(180)], **HISTORY)], Policy())
    assert after.explanation.startswith(
        "0 of 220 requests failed: a fault of 2 % is ruled out, one of 1 % is not. Promoted by the policy"
    )
    assert after.reason is Reason.SMALL_FAULT_RULED_OUT


def test_nothing_but_a_lack_of_requests_is_promoted_over(bake, tick):
    """A hold, missing telemetry or no traffic stays a person's, whatever is ruled out."""
    slow = ended(bake, [tick(n=1, m=9, slow=1) for _ in range(180)], **HISTORY)
    none = ended(bake, [tick(n=0, m=9) for _ in range(180)], **HISTORY)
    gone = ended(bake, [*scrapes(tick, 100)[:100], *[tick(seen=False)] * 80], **HISTORY)
    for verdict in (slow, none, gone):
        assert verdict.action is Action.INCONCLUSIVE
        assert promoted([verdict], Policy())[0].action is Action.INCONCLUSIVE


@pytest.mark.parametrize(
    ("steps", "taken", "may"),
    [
        (["promote"], [], True),
        (["ask"], [], False),
        ([], [], False),
        (["probe", "promote"], [], False),
        (["probe", "promote"], [LowTraffic.PROBE], True),
        (["probe", "hold", "promote"], [LowTraffic.PROBE], False),
        (["promote", "probe"], [], True),
    ],
)
def test_the_step_is_taken_when_its_turn_has_come(bake, tick, steps, taken, may):
    """After the steps that the policy has before it, and only where the policy has it."""
    policy = Policy(low_traffic=steps)
    verdict = ended(bake, scrapes(tick, 100), policy, **HISTORY)
    assert (promoted([verdict], policy, taken)[0].action is Action.PROMOTE) is may
    assert bool(due([verdict], policy, LowTraffic.PROBE)) is ("probe" in steps)


def test_probes_are_sent_only_where_users_came(bake, tick):
    """Requests of our own alone rule nothing out; a canary without users is waited for, or a person decides."""
    policy = Policy(low_traffic=["probe", "hold"])
    without = ended(bake, [tick(m=9)] * 180, policy, **HISTORY)
    assert without.reason is Reason.NO_TRAFFIC
    assert due([without], policy, LowTraffic.PROBE) == []
    assert due([without], policy, LowTraffic.HOLD) == [without]


def test_a_further_look_asks_for_more(bake, tick):
    """After an extension 77 clean requests are not enough any more; all looks together spend at most 4 %."""
    verdict = judge(bake(**HISTORY).folded(scrapes(tick, 77)), Policy().extended(0))
    assert promoted([verdict], Policy())[0].action is Action.INCONCLUSIVE
    policy, spent = Policy(), 0.0
    for _ in range(50):
        spent, policy = spent + policy.alpha_small_now, policy.extended(60)
    assert spent <= 2 * policy.alpha_small
