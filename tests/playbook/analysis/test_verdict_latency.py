"""Slow answers: more instances once, then a rollback; and what a person decides."""

import random

import pytest

from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Reason, judge

CLEAN = {"n": 100, "m": 900}


def end_of(bake, ticks, **more):
    """The verdict at the end of a bake."""
    return judge(bake.folded(ticks), bake.policy, **more)


def test_very_slow_answers_scale_first(bake, tick):
    """A p95 above 5 s asks for instances, once."""
    verdict = bake().verdict([tick(**CLEAN, very_slow=30)] * 180)
    assert (verdict.action, verdict.reason) == (Action.SCALE, Reason.LATENCY_5S)


@pytest.mark.parametrize(("helps", "action"), [(True, Action.PROMOTE), (False, Action.ROLLBACK)])
def test_after_scaling_it_is_as_fast_as_the_rest_or_it_goes(bake, tick, helps, action):
    """More instances help: PROMOTE. They do not: ROLLBACK."""
    one, evidence, verdict = bake(), bake().evidence(), None
    ticks = [tick(**CLEAN, very_slow=0 if helps and k > 15 else 30) for k in range(180)]
    for look in one.looks(ticks):
        evidence = evidence.observe(look)
        verdict = judge(evidence, one.policy)
        if verdict.action is Action.SCALE:
            assert evidence.scaled_at_s is None, "only once"
            evidence = evidence.after_scaling(evidence.now_s)
        elif verdict.action is not Action.CONTINUE:
            break
    assert verdict.action is action


def test_scaling_that_was_tried_already_is_not_tried_again(bake, tick):
    """Told that instances were added, the same evidence rolls back."""
    evidence = bake().folded([tick(**CLEAN, very_slow=30)] * 30)
    assert judge(evidence, Policy()).action is Action.SCALE
    assert judge(evidence, Policy(), scaled=True).action is Action.ROLLBACK


def test_with_no_time_left_to_scale_a_person_decides(bake, tick):
    """At the bake's end SCALE cannot be looked at any more, so it is a hold."""
    verdict = end_of(bake(), [tick(**CLEAN, very_slow=30)] * 180)
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.LATENCY_5S)


def test_a_slow_dependency_is_called_shared(bake, tick):
    """Both are slow: scaling is tried, and the cause is named."""
    verdict = bake().verdict([tick(**CLEAN, very_slow=30, stable_very_slow=270)] * 60)
    assert (verdict.action, verdict.attribution) == (Action.SCALE, "shared")


def test_without_the_edges_of_a_histogram_nothing_is_promoted_on_a_guess(bake, tick):
    """Where only a bucket at 10 s exists, nobody can say that 95 % are faster than 2 s."""
    verdict = end_of(bake(bounds=(10.0,)), [tick(**CLEAN)] * 180)
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.LATENCY_2S)


def test_slow_until_the_end_is_not_promoted_for_lack_of_a_second_look(bake, tick):
    """Scaled shortly before the end, and no request was timed since: a person decides."""
    maker = bake()
    ticks = [tick(**CLEAN)] * 165 + [tick(**CLEAN, very_slow=100)] * 15
    evidence, is_scaled = maker.evidence(), False
    for look in maker.looks(ticks):
        evidence = evidence.observe(look)
        if not is_scaled and judge(evidence, maker.policy).action is Action.SCALE:
            evidence, is_scaled = evidence.after_scaling(evidence.now_s), True
    verdict = judge(evidence, maker.policy)
    assert is_scaled
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.LATENCY_5S)


def test_stalls_that_the_p95_allows_scale_nothing(bake, tick):
    """2 % of the answers take longer than 5 s, in stalls of 2 s at random: the playbook's 5 % is never passed."""
    dice = random.Random(7)
    ticks = [tick(n=1000, m=9000, very_slow=400 if dice.random() < 0.05 else 0) for _ in range(180)]
    assert bake().verdict(ticks).action is Action.PROMOTE
