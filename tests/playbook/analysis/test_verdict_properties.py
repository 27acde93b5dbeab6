"""The judge, whatever comes: more errors never help, the end is a decision, and no evidence never promotes."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from playbook.analysis.evidence import Observation
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, judge

COUNTS = st.tuples(st.sampled_from([0, 1, 10, 100]), st.floats(0, 0.3), st.floats(0, 0.05))


@st.composite
def courses(draw, most=60):
    """Up to ``most`` scrapes of a canary whose rates change a few times, with gaps."""
    ticks = []
    for _ in range(draw(st.integers(1, 4))):
        n, bad, stable = draw(COUNTS)
        for _ in range(draw(st.integers(1, most // 4))):
            x = min(n, draw(st.integers(0, round(2 * bad * n) or int(n > 0))))
            y = min(9 * n, draw(st.integers(0, round(18 * stable * n))))
            ticks.append({"n": n, "x": x, "m": 9 * n, "y": y, "seen": draw(st.integers(0, 19)) > 0})
    return ticks


@settings(max_examples=60, deadline=None)
@given(courses(), st.data(), st.sampled_from([1.0, 1.3, 4.0, 20.0]))
def test_turning_good_answers_into_errors_never_helps(bake, tick, course, data, phi_hat):
    """Flip any answers to 5xx: the verdict is no healthier and a rollback comes no later.

    With one exception: where errors are known to come alone (1.0), the errors that are added may form a burst, and the
    rule for faults that last then waits for the slower ones.
    """
    one = bake(policy=Policy.compressed(), phi_hat=phi_hat)
    course = (course * 60)[:60]
    worse = [dict(t) for t in course]
    for k in data.draw(st.lists(st.integers(0, 59), min_size=1, max_size=10)):
        more = data.draw(st.sampled_from([1, 1, 1, 5, 20]))
        worse[k]["x"] = min(worse[k]["n"], worse[k]["x"] + more)
    assume(worse != course)
    before = one.verdict([tick(**t) for t in course])
    after, has_bursts = until_decided(one, [tick(**t) for t in worse])
    assume(not has_bursts)
    assert list(Action).index(after.action) <= list(Action).index(before.action)
    if before.action is Action.ROLLBACK:
        assert after.at_s <= before.at_s


def until_decided(one, ticks):
    """The final verdict, and whether the canary's errors were seen to come in bursts before it."""
    evidence, has_bursts = one.evidence(), False
    for look in one.looks(ticks):
        evidence = evidence.observe(look)
        has_bursts |= evidence.lasting.canary.are_bursts
        verdict = judge(evidence, one.policy)
        if verdict.action not in (Action.CONTINUE, Action.SCALE):
            break
    return verdict, has_bursts


def test_errors_that_form_a_burst_may_make_a_rollback_later(bake, tick):
    """The exception: a fault of 1 % is called a fault that lasts after three scrapes; with 80 errors more in one scrape
    before it errors do not come alone, and the slower rules take longer. It is rolled back all the same."""
    fault = [tick(n=2000, m=18000)] * 30 + [tick(n=2000, x=20, m=18000)] * 150
    burst = [*fault[:10], tick(n=2000, x=80, m=18000), *fault[11:]]
    (alone, _), (after, has_bursts) = (until_decided(bake(phi_hat=1.0), ticks) for ticks in (fault, burst))
    assert has_bursts
    assert alone.action is after.action is Action.ROLLBACK
    assert alone.at_s < after.at_s <= alone.at_s + 300


@settings(max_examples=40, deadline=None)
@given(courses(), st.sampled_from([1.0, 20.0]), st.booleans())
def test_the_end_is_always_a_decision(bake, tick, course, phi_hat, longer):
    """At or after the bake's end there is a verdict and it is never CONTINUE; before, it is never PROMOTE."""
    one = bake(policy=Policy.compressed(), phi_hat=phi_hat)
    evidence = one.folded([tick(**t) for t in course[:60]])
    if evidence.now_s < evidence.bake_start_s + 60:
        assert judge(evidence, one.policy).action not in (Action.PROMOTE, Action.INCONCLUSIVE)
    late = evidence.observe(Observation(evidence.bake_start_s + 60 + 30 * longer))
    assert judge(late, one.policy).action is not Action.CONTINUE


@settings(max_examples=40, deadline=None)
@given(courses(), st.sampled_from(["none", "stale", "zero"]))
def test_no_evidence_never_promotes(bake, tick, course, kind):
    """Nothing seen, nothing fresh or nothing served: never PROMOTE, whatever came before."""
    one = bake(policy=Policy.compressed())
    ticks = [dict(t, x=0, y=0) for t in (course * 60)[:60]]
    if kind == "none":
        ticks = [dict(t, seen=False) for t in ticks]
    if kind == "stale":
        ticks = [dict(t, seen=t["seen"] and k < 50) for k, t in enumerate(ticks)]
    if kind == "zero":
        ticks = [dict(t, n=0) for t in ticks]
    assert one.verdict([tick(**t) for t in ticks]).action is Action.INCONCLUSIVE
