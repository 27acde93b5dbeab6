"""Judge: what each kind of evidence allows, in which order, and what it never does."""

import random
from dataclasses import replace

import pytest

from playbook.analysis.evidence import CounterSeries, Observation, RevisionSamples
from playbook.analysis.explanation import sentence
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Reason, Verdict, against, judge, severest_first

CLEAN = {"n": 100, "m": 900}


def end_of(bake, ticks, **more):
    """The verdict at the end of a bake."""
    return judge(bake.folded(ticks), bake.policy, **more)


def test_a_clean_canary_is_promoted_at_the_end_and_not_before(bake, tick):
    """180 clean scrapes: CONTINUE until the bake's end, then PROMOTE with the numbers."""
    told = list(bake().verdicts([tick(**CLEAN)] * 180))
    assert [v.action for v in told[:-1]] == [Action.CONTINUE] * 180
    assert (told[-1].action, told[-1].reason) == (Action.PROMOTE, Reason.HEALTHY)
    assert "0 of 18,000 requests" in told[-1].explanation


@pytest.mark.parametrize(
    ("broken", "reason", "within_s"),
    [
        ({"n": 1, "x": 1}, Reason.ERRORS_PROVEN, 10),
        ({"n": 100, "x": 100, "m": 900}, Reason.ERRORS_PROVEN, 5),
        ({"n": 100, "x": 5, "m": 900}, Reason.ERRORS_MEASURED, 15),
        ({"n": 1000, "x": 20, "m": 9000}, Reason.ERRORS_LITERAL, 15),
        ({"n": 100, "oom_kills": 1, "m": 900}, Reason.OOM_KILLED, 5),
    ],
    ids=["every single request fails", "everything fails", "5 %", "2 % of very many", "an instance was killed"],
)
def test_a_broken_canary_is_rolled_back_at_once(bake, tick, broken, reason, within_s):
    """What is plainly bad needs no 15 minutes."""
    one = bake()
    verdict = one.verdict([tick(**broken)] * 180)
    assert (verdict.action, verdict.reason, verdict.attribution) == (Action.ROLLBACK, reason, "canary")
    assert one.at_s(verdict) <= within_s


def test_the_last_good_error_is_forgiven(bake, tick):
    """One error in the very first request neither rolls back nor stands in the way of promotion."""
    verdict = bake().verdict([tick(n=1, x=1, m=9), *[tick(**CLEAN)] * 179])
    assert verdict.action is Action.PROMOTE


def test_exactly_a_third_of_a_percent_goes_to_a_person(bake, tick):
    """In the band of 0.1 to 0.5 % a person decides, alerted while the bake goes on."""
    ticks = [tick(n=100, x=int(k % 10 in (2, 5, 8)), m=900) for k in range(180)]
    told = list(bake().verdicts(ticks))
    assert (told[-1].action, told[-1].reason) == (Action.INCONCLUSIVE, Reason.ERRORS_IN_BAND)
    assert any(v.alert for v in told[:-1])


def test_a_canary_that_fails_where_stable_does_not_is_a_regression(bake, tick):
    """Few errors, all on the canary, measured above the line: worse than stable."""
    ticks = [tick(n=10, x=int(k % 9 == 8), m=90) for k in range(180)]
    verdict = bake().verdict(ticks)
    assert verdict.action is Action.ROLLBACK
    assert verdict.reason in (Reason.ERRORS_REGRESSED, Reason.ERRORS_MEASURED)


def test_too_few_requests_say_how_long_it_would_take(bake, tick):
    """One request a scrape cannot rule out 0.5 %: INCONCLUSIVE, with the time that would."""
    verdict = end_of(bake(), [tick(n=1, m=9)] * 180)
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.TOO_FEW_REQUESTS)
    assert verdict.eta_s == pytest.approx((598 - 180) / 180 * 900)


@pytest.mark.parametrize(("clean", "action"), [(598, Action.PROMOTE), (597, Action.INCONCLUSIVE)])
def test_598_clean_requests_promote(bake, tick, clean, action):
    """The least that rules out half a percent, in a compressed bake as well."""
    ticks = [tick(n=10, m=90)] * 59 + [tick(n=clean - 590, m=90)]
    assert end_of(bake(policy=Policy.compressed()), ticks).action is action


@pytest.mark.parametrize(
    ("ticks", "reason"),
    [
        ([{"seen": False}] * 180, Reason.TELEMETRY_MISSING),
        ([CLEAN] * 150 + [dict(CLEAN, seen=False)] * 30, Reason.TELEMETRY_STALE),
        ([CLEAN] * 60 + [dict(CLEAN, seen=False)] * 100 + [CLEAN] * 20, Reason.TELEMETRY_PARTIAL),
        ([{"n": 0, "m": 900}] * 180, Reason.NO_TRAFFIC),
        ([dict(CLEAN, cpu=0.9)] * 30 + [CLEAN] * 150, Reason.CPU),
        ([dict(CLEAN, memory=0.9)] * 30 + [CLEAN] * 150, Reason.MEMORY),
        ([dict(CLEAN, slow=8)] * 180, Reason.LATENCY_2S),
        ([CLEAN] * 140 + [dict(CLEAN, slow=20)] * 40, Reason.LATENCY_2S),
    ],
    ids=[
        "nothing was ever seen",
        "telemetry is gone",
        "half of the bake was not seen",
        "seen, but no requests",
        "CPU",
        "memory",
        "p95 above 2 s",
        "p95 above 2 s at the end",
    ],
)
def test_what_stands_in_the_way_of_a_promotion_has_a_name(bake, tick, ticks, reason):
    """Each kind of missing evidence and each hold is a reason of its own, never health and never guilt."""
    verdict = end_of(bake(), [tick(**t) for t in ticks])
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, reason)


@pytest.mark.parametrize(
    ("ticks", "reason"),
    [
        ([CLEAN] * 10, Reason.COLLECTING),
        ([{"n": 0, "m": 900}] * 10, Reason.COLLECTING),
        ([{"n": 0, "m": 900}] * 20, Reason.NO_TRAFFIC),
        ([{"seen": False}] * 20, Reason.TELEMETRY_MISSING),
        ([CLEAN] * 10 + [dict(CLEAN, seen=False)] * 15, Reason.TELEMETRY_STALE),
        ([dict(CLEAN, cpu=0.9)] * 30, Reason.CPU),
    ],
    ids=["all is well", "no request yet", "no request for a minute", "never seen", "gone for 75 s", "hot for 150 s"],
)
def test_while_the_bake_goes_on_it_says_what_is_missing(bake, tick, ticks, reason):
    """CONTINUE with the reason that would hold now, and an alert unless all is well."""
    verdict = end_of(bake(), [tick(**t) for t in ticks])
    assert (verdict.action, verdict.reason) == (Action.CONTINUE, reason)
    assert verdict.alert == (reason is not Reason.COLLECTING)


@pytest.mark.parametrize(
    "ticks",
    [
        [dict(CLEAN, cpu=0.99, memory=0.99)] * 20 + [CLEAN] * 160,
        [dict(CLEAN, slow=40)] * 12 + [CLEAN] * 168,
        [dict(CLEAN, very_slow=50)] * 2 + [CLEAN] * 178,
        [CLEAN] * 60 + [dict(CLEAN, seen=False)] * 20 + [CLEAN] * 100,
    ],
    ids=["a hot start", "a slow start", "a very slow start of 10 s", "telemetry away for 100 s"],
)
def test_what_passes_is_not_held_against_a_canary(bake, tick, ticks):
    """Cold starts and short gaps end in PROMOTE."""
    assert bake().verdict([tick(**t) for t in ticks]).action is Action.PROMOTE


@pytest.mark.parametrize(("ratio", "rate"), [(0.2, 10), (0.2, 100), (0.05, 100), (1.0, 100), (0.2, 10_000)])
def test_a_shared_outage_is_rolled_back_and_called_shared(bake, tick, ratio, rate):
    """Both fail alike: the playbook rolls back all the same, and people are told that it may not help."""
    bad = {"x": int(rate * ratio), "y": int(9 * rate * ratio)}
    ticks = [tick(n=rate, m=9 * rate)] * 60 + [tick(n=rate, m=9 * rate, **bad)] * 60
    verdict = bake().verdict(ticks)
    assert (verdict.action, verdict.attribution) == (Action.ROLLBACK, "shared")
    assert "may not help" in verdict.explanation


def test_stable_is_heard_after_users_have_left_the_canary(bake, tick):
    """The canary's instances report first, users go back, and no round ends any more: the outage is stable's, too."""
    one = bake()
    ticks = [tick(n=10_000, m=90_000)] * 60 + [tick(n=10_000, m=90_000, x=2_000)]
    evidence = one.folded(ticks)
    assert judge(evidence, one.policy).attribution == "canary"
    late = evidence.now_s + 5
    stable = tuple(
        CounterSeries({"instance": "a", "status": status}, ((late, total),))
        for status, total in (("200", 61 * 90_000.0 + 72_000), ("503", 18_000.0))
    )
    later = evidence.observe(Observation(late, stable=RevisionSamples(requests=stable)))
    assert judge(later, one.policy).attribution == "shared"


def test_of_several_services_each_needs_stronger_evidence(bake, tick):
    """The chance of a wrong rollback is split over the services of a release."""
    ticks = [tick(n=10, x=int(k % 3 == 2), m=90) for k in range(180)]
    alone, of_three = bake().verdict(ticks), bake().verdict(ticks, services=3)
    assert alone.action is of_three.action is Action.ROLLBACK
    assert of_three.at_s >= alone.at_s
    assert {s.evidence_needed for s in of_three.signals if s.name == "errors"} == {600}


def test_an_extended_bake_goes_on_with_the_same_evidence(bake, tick):
    """After "extend by ten minutes" the judge continues, and at the new end asks for more than at the first."""
    one = bake()
    evidence = one.folded([tick(n=3, m=27)] * 180)
    assert judge(evidence, one.policy).reason is Reason.TOO_FEW_REQUESTS
    longer = one.policy.extended(600)
    assert judge(evidence, longer).action is Action.CONTINUE
    enough_for_one_look = one.folded([tick(n=2, m=18)] * 300)
    assert judge(enough_for_one_look, longer).action is Action.INCONCLUSIVE, "600 are enough for 5 %, not for 1 %"
    assert judge(one.folded([tick(n=4, m=36)] * 300), longer).action is Action.PROMOTE


def test_another_policy_than_the_evidence_was_folded_with_is_refused(bake, tick):
    """Thresholds that change between folding and judging would make the numbers lies."""
    with pytest.raises(ValueError, match=r"another policy: .*error_ratio_max"):
        judge(bake().folded([tick(**CLEAN)]), Policy(error_ratio_max=0.01))


@pytest.mark.parametrize("clean", [1, 60, 150])
def test_a_fault_that_lasts_is_rolled_back_within_three_scrapes(bake, tick, clean):
    """Where errors are known to come alone, a fault of 5 % is, whenever it begins; 1 error in 20 scrapes is none."""
    ticks = [tick(**CLEAN)] * clean + [tick(n=100, x=5, m=900)] * 3
    assert bake(phi_hat=1).verdict(ticks[:-1]).action is Action.CONTINUE
    assert bake(phi_hat=1).verdict(ticks).action is Action.ROLLBACK
    rare = ([tick(**CLEAN)] * 19 + [tick(n=100, x=1, m=900)]) * 9
    assert bake(phi_hat=1).verdict(rare).action is not Action.ROLLBACK


def test_a_canary_with_bursts_of_its_own_is_not_taken_for_a_fault_that_lasts(bake, tick):
    """Bursts that ended before, of the canary or of stable, show that errors do not come alone after all."""
    ticks = [tick(**CLEAN)] * 60 + [tick(n=100, x=3, m=900)] * 5
    assert bake(phi_hat=1).verdict(ticks).action is Action.ROLLBACK
    for burst in (tick(n=100, x=12, m=900), tick(n=100, x=0, m=900, y=20)):
        bursts = [tick(**CLEAN)] * 8 + [burst, *[tick(**CLEAN)] * 40]
        assert bake(phi_hat=1).verdict(bursts + ticks).action is not Action.ROLLBACK


def test_a_past_with_bursts_makes_it_patient(bake, tick):
    """24 errors in three scrapes on end may be a burst where bursts are known, and are a fault where they are not."""
    ticks = [tick(**CLEAN)] * 5 + [tick(n=100, x=8, m=900)] * 3 + [tick(**CLEAN)] * 172
    assert bake(phi_hat=20).verdict(ticks).action is not Action.ROLLBACK
    assert bake(phi_hat=1).verdict(ticks).action is Action.ROLLBACK


@pytest.mark.parametrize("reason", list(Reason))
def test_each_reason_is_explained_in_a_sentence(bake, tick, reason):
    """Every reason has words, with a number in them, for any evidence."""
    text = sentence(reason, bake().folded([tick(**CLEAN)] * 3), Policy(), bound=0.01, eta_s=60, left_s=100)
    assert text.endswith(".")
    assert any(letter.isdigit() for letter in text)


def test_signals_carry_the_queries_that_gave_them(bake, tick):
    """The caller, who knows the queries, adds them by slot."""
    verdict = end_of(bake(), [tick(**CLEAN)] * 3).with_queries({"requests": "http_requests_total{}"})
    assert {s.query for s in verdict.signals if s.slot == "requests"} == {"http_requests_total{}"}
    assert {s.query for s in verdict.signals if s.slot == "cpu"} == {None}


@pytest.mark.parametrize("action", list(Action))
def test_the_worst_speaks_for_the_release(action):
    """ROLLBACK, SCALE, INCONCLUSIVE, CONTINUE, PROMOTE: each outranks all that come after it."""
    verdicts = [
        Verdict(service=a.value, action=a, reason=Reason.HEALTHY, explanation="")
        for a in list(Action)[list(Action).index(action) :]
    ]
    random.Random(1).shuffle(verdicts)
    assert severest_first(verdicts)[0].action is action
    assert [v.action for v in severest_first(verdicts)] == sorted((v.action for v in verdicts), key=list(Action).index)


@pytest.mark.parametrize("action", list(Action))
def test_a_p95_above_5_s_speaks_against_what_everybody_has(action):
    """Whatever is done with a canary then: found after its minutes, the judge leaves it to a person nobody asks."""
    fine, slow = (
        Verdict(service=reason.value, action=action, reason=reason, explanation="")
        for reason in (Reason.TOO_FEW_REQUESTS, Reason.LATENCY_5S)
    )
    is_bad = action in (Action.ROLLBACK, Action.SCALE)
    assert against([fine, slow]) is (fine if is_bad else slow)
    assert against([fine]) is (fine if is_bad else None)


@pytest.mark.parametrize(
    ("errors", "action", "reason"),
    [
        (18, Action.PROMOTE, Reason.HEALTHY),
        (19, Action.PROMOTE, Reason.HEALTHY),
        (20, Action.INCONCLUSIVE, Reason.ERRORS_IN_BAND),
        (90, Action.INCONCLUSIVE, Reason.ERRORS_IN_BAND),
        (91, Action.ROLLBACK, Reason.ERRORS_LITERAL),
    ],
)
def test_where_the_limits_of_the_matrix_lie(bake, tick, errors, action, reason):
    """Of 18,000 requests, spread evenly, and stable alike: exactly 0.1 % (18) and one more are healthy, as the worst
    scrape's errors are left out; exactly 0.5 % (90) is a person's, and one more is above it within five minutes."""
    counts = [(k + 1) * errors // 180 - k * errors // 180 for k in range(180)]
    ticks = [tick(n=100, x=x, m=900, y=9 * x) for x in counts]
    last = bake(phi_hat=1.0).verdict(ticks)
    assert (last.action, last.reason) == (action, reason)


@pytest.mark.parametrize(
    ("ratio", "burst", "phi_hat"), [(0.001, 1, 1.0), (0.0005, 10, 10.0)], ids=["0.1 %", "0.05 % in bursts of ten"]
)
@pytest.mark.parametrize("rate", [10, 100])
def test_healthy_canaries_are_not_rolled_back(bake, tick, ratio, burst, phi_hat, rate):
    """Of 25 seeded healthy canaries, looked at after every scrape, none is rolled back."""
    draw = random.Random(rate)
    for _ in range(25):
        ticks = []
        for _ in range(180):
            bursts = sum(draw.random() < ratio / burst for _ in range(rate))
            ticks.append(tick(n=rate, x=min(rate, bursts * burst), m=9 * rate))
        assert bake(phi_hat=phi_hat).verdict(ticks).action is not Action.ROLLBACK


@pytest.mark.parametrize(("kind", "reason"), [("latency", Reason.LATENCY_UNKNOWN), ("kills", Reason.OOM_UNKNOWN)])
def test_a_signal_that_was_never_seen_is_not_a_healthy_one(bake, tick, kind, reason):
    """A latency query that finds nothing, or logs that never answered, leave the release to a person."""
    maker = bake()
    evidence = maker.evidence()
    for look in maker.looks([tick(**CLEAN)] * 180):
        canary = replace(look.canary, latency=()) if kind == "latency" else look.canary
        kills = None if kind == "kills" else look.oom_kills
        evidence = evidence.observe(replace(look, canary=canary, oom_kills=kills))
    verdict = judge(evidence, maker.policy)
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, reason)


def test_an_old_blip_of_stable_does_not_excuse_a_canary(bake, tick):
    """Stable failed for half a minute long ago; what the canary does now is its own."""
    ticks = [tick(**CLEAN)] * 12 + [tick(n=100, m=900, y=450)] * 6
    ticks += [tick(**CLEAN)] * 122 + [tick(n=100, x=20, m=900)] * 40
    assert bake().verdict(ticks).attribution == "canary"
