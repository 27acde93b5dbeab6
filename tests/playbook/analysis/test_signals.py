"""[[signals]]: each kind of row within its limit, beyond it, and missing."""

from typing import Any

import pytest
from pydantic import ValidationError

from playbook.analysis.evidence import CounterSeries, Evidence, Observation
from playbook.analysis.policy import Policy, SharedCause
from playbook.analysis.samples import Sides
from playbook.analysis.signals import (
    DEFAULT_SIGNALS,
    POLICY_FIELDS,
    Absence,
    Breach,
    Count,
    Gauge,
    Ratio,
    Signal,
    for_service,
    playbook_table,
)
from playbook.analysis.verdict import Action, Reason, Verdict, judge

START_S = 1_763_647_200.0
CLEAN = {"n": 100, "m": 900}
DECLINED = Ratio(
    name="declined", total="payments", bad_where={"result": "declined"}, limit=0.02, breach=Breach.ROLLBACK
)
WORSE = Ratio(name="declined", total="payments", bad="refused", factor=2, breach=Breach.HOLD)
QUEUE = Gauge(name="queue", query="queue", limit=100, breach=Breach.HOLD)
LOST = Count(name="messages lost", query="lost", limit=2, breach=Breach.ROLLBACK)
RESTARTS = Count(name="restarts", query="start_time", changes=True, breach=Breach.HOLD)


def grows(by: float, **labels: str) -> CounterSeries:
    """A counter that grows by so much at every scrape of a bake."""
    return CounterSeries({"instance": "a", **labels}, tuple((START_S + 5 * k, by * k) for k in range(181)))


def level(*values: float) -> CounterSeries:
    """A level at every scrape; the last one stays."""
    return CounterSeries(
        {"instance": "a"}, tuple((START_S + 5 * k, values[min(k, len(values) - 1)]) for k in range(181))
    )


def told(
    bake: Any, tick: Any, signal: Signal, policy: Policy | None = None, course: Any = (), **found: Sides
) -> Verdict:
    """The verdict on a canary that is healthy by the playbook's table, or has ``course``, and has this signal."""
    maker = bake(policy=policy) if policy is not None else bake()
    evidence = Evidence.start(
        service="backend",
        canary="backend-new",
        stable=("backend-old",),
        bake_start_s=START_S,
        policy=maker.policy,
        phi_hat=1.0,
        signals=(signal,),
    )
    for look in maker.looks(course or [tick(**CLEAN)] * 180):
        more = {query: Sides(*(upto(side, look.now_s) for side in sides)) for query, sides in found.items()}
        evidence = evidence.observe(Observation(look.now_s, look.canary, look.stable, look.oom_kills, more=more))
        verdict = judge(evidence, maker.policy)
        if verdict.action is not Action.CONTINUE:
            break
    return verdict


def upto(found: tuple[CounterSeries, ...], now_s: float) -> tuple[CounterSeries, ...]:
    """The newest samples that are there at this time."""
    return tuple(
        CounterSeries(one.labels, tuple(sample for sample in one.samples if now_s - 30 < sample[0] <= now_s))
        for one in found
    )


def paid(declined: float) -> tuple[CounterSeries, ...]:
    """Payments of one revision: 100 a scrape."""
    return grows(100 - declined, result="ok"), grows(declined, result="declined")


def breaks(before: int, after: int) -> tuple[CounterSeries, ...]:
    """Payments of a revision that is declined more of 100 from the middle of the bake on."""
    declined = [before * k + (after - before) * max(0, k - 90) for k in range(181)]
    counts = (("declined", declined), ("ok", [100 * k - x for k, x in enumerate(declined)]))
    return tuple(
        CounterSeries(
            {"instance": "a", "result": name}, tuple((START_S + 5 * k, float(v)) for k, v in enumerate(found))
        )
        for name, found in counts
    )


def test_a_ratio_that_breaks_in_mid_bake_is_found_within_three_scrapes_where_stable_shows_it_alone(bake, tick):
    """Where stable has the same events one at a time, three scrapes of the canary do; else more are asked."""
    stable = (grows(891, result="ok"), grows(9, result="declined"))
    known, unknown = (
        told(bake, tick, DECLINED, payments=Sides(breaks(1, 10), side)).at_s - START_S - 450 for side in (stable, ())
    )
    assert known == 15
    assert unknown > 2 * known


@pytest.mark.parametrize(
    ("signal", "found", "action", "reason"),
    [
        (DECLINED, {"payments": Sides(paid(1))}, Action.PROMOTE, Reason.HEALTHY),
        (DECLINED, {"payments": Sides(paid(10))}, Action.ROLLBACK, Reason.SIGNAL_BREACHED),
        (DECLINED, {"payments": Sides(paid(2.5))}, Action.ROLLBACK, Reason.SIGNAL_BREACHED),
        (DECLINED, {}, Action.PROMOTE, Reason.HEALTHY),
        (DECLINED.model_copy(update={"absence": Absence.HOLD}), {}, Action.INCONCLUSIVE, Reason.SIGNAL_UNKNOWN),
        (
            DECLINED.model_copy(update={"breach": Breach.SCALE}),
            {"payments": Sides(paid(10))},
            Action.SCALE,
            Reason.SIGNAL_BREACHED,
        ),
        (
            WORSE,
            {
                "payments": Sides((grows(100),), (grows(900),)),
                "refused": Sides((grows(20),), (grows(45),)),
            },
            Action.INCONCLUSIVE,
            Reason.SIGNAL_HELD,
        ),
        (
            WORSE,
            {"payments": Sides((grows(100),), (grows(900),)), "refused": Sides((grows(6),), (grows(45),))},
            Action.PROMOTE,
            Reason.HEALTHY,
        ),
        (QUEUE, {"queue": Sides((level(100),))}, Action.PROMOTE, Reason.HEALTHY),
        (QUEUE, {"queue": Sides((level(*[101] * 30, 5),))}, Action.INCONCLUSIVE, Reason.SIGNAL_HELD),
        (QUEUE, {"queue": Sides((level(*[101] * 20, 5),))}, Action.PROMOTE, Reason.HEALTHY),
        (LOST, {"lost": Sides((grows(0),))}, Action.PROMOTE, Reason.HEALTHY),
        (LOST, {"lost": Sides((grows(1),))}, Action.ROLLBACK, Reason.SIGNAL_BREACHED),
        (RESTARTS, {"start_time": Sides((level(7),))}, Action.PROMOTE, Reason.HEALTHY),
        (RESTARTS, {"start_time": Sides((level(7, 7, 9),))}, Action.INCONCLUSIVE, Reason.SIGNAL_HELD),
    ],
    ids=[
        "ratio within its limit",
        "ratio far beyond its limit",
        "ratio measured beyond its limit",
        "ratio never seen, allowed",
        "ratio never seen, held",
        "ratio that scales",
        "ratio four times stable's",
        "ratio like stable's",
        "gauge at its limit",
        "gauge beyond its limit for two minutes",
        "gauge beyond its limit for less",
        "count at nothing",
        "count beyond its limit",
        "no restart",
        "a restart",
    ],
)
def test_a_signal_does_what_its_row_says(
    bake: Any, tick: Any, signal: Signal, found: dict[str, Sides], action: Action, reason: Reason
) -> None:
    """Each kind, and the name of the row is in the verdict."""
    verdict = told(bake, tick, signal, **found)
    assert (verdict.action, verdict.reason) == (action, reason), verdict.explanation
    assert verdict.signal == ("" if reason is Reason.HEALTHY else signal.name)
    (row,) = (one for one in verdict.signals if one.name == signal.name)
    assert verdict.with_queries({signal.name: "q"}).signals[verdict.signals.index(row)].query == "q"


def test_the_sentence_has_the_numbers_and_the_limit(bake: Any, tick: Any) -> None:
    """As people read it at night."""
    verdict = told(bake, tick, DECLINED, payments=Sides(paid(10)))
    assert "Declined: 10 % (" in verdict.explanation
    assert verdict.explanation.endswith("the limit is 2 %. Rolling back.")


def test_a_service_that_answers_hardly_a_request_is_not_called_healthy(bake: Any, tick: Any) -> None:
    """All requests of both sides get a 4xx: stable's equal ratio is no measure."""
    (shipped,) = (one for one in DEFAULT_SIGNALS if one.name == "client errors (4xx)")
    signal = shipped.model_copy(update={"total": "http"})
    verdict = told(bake, tick, signal, http=Sides((grows(100, status="429"),), (grows(900, status="429"),)))
    assert (verdict.action, verdict.signal) == (Action.INCONCLUSIVE, signal.name)
    assert "the limit is 90 %" in verdict.explanation


HOLD = Policy(shared_cause=SharedCause.HOLD)


def after_an_outage(tick: Any) -> list[Any]:
    """Stable failed for the first minute."""
    return [tick(n=100, m=900, x=20, y=180)] * 12 + [tick(**CLEAN)] * 168


def test_a_count_that_rolls_back_is_held_where_stable_failed_and_the_policy_waits(bake: Any, tick: Any) -> None:
    """It is not known when it was beyond its limit, so it says that a person decides."""
    lost = Count(name="lost payments", query="payments", breach="rollback")
    verdict = told(bake, tick, lost, HOLD, after_an_outage(tick), payments=Sides(paid(10)))
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.SIGNAL_HELD)
    assert verdict.explanation.endswith("Stable failed meanwhile, too. A person decides when the bake ends.")


def test_a_ratio_that_is_beyond_its_limit_when_stable_is_well_rolls_back_all_the_same(bake: Any, tick: Any) -> None:
    """What it counted while stable failed is set aside, and the rest decides."""
    verdict = told(bake, tick, DECLINED, HOLD, after_an_outage(tick), payments=Sides(paid(10)))
    assert (verdict.action, verdict.reason) == (Action.ROLLBACK, Reason.SIGNAL_BREACHED)


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        (Ratio, {"total": "t", "bad": "b"}, "limit or factor is missing"),
        (Ratio, {"total": "t", "limit": 0.1}, "exactly one of bad, bad_where and above_s"),
        (Ratio, {"total": "t", "bad": "b", "limit": 5}, "less than 1"),
        (Ratio, {"total": "t", "bad": "b", "factor": 0.5}, "greater than or equal to 1"),
        (Ratio, {"total": "t", "above_s": "every edge", "limit": 0.1}, "no limit of its own"),
        (Ratio, {"total": "t", "bad_where": {"a": "("}, "limit": 0.1}, "no regular expression"),
        (Gauge, {"query": "q"}, "exactly one of limit"),
        (Gauge, {"query": "q", "limit": float("nan")}, "finite"),
        (Count, {"query": "q", "limit": -1}, "greater than or equal to 0"),
    ],
)
def test_an_impossible_row_is_refused(kind: type, said: dict[str, Any], words: str) -> None:
    """When the file is read, and with what to write."""
    with pytest.raises(ValidationError, match=words):
        kind(name="mine", breach="hold", **said)


def test_the_playbooks_table_is_written_in_the_same_form() -> None:
    """Its limits are the policy's, and each that can be set is a field of it."""
    policy = Policy(error_ratio_max=0.004, allow_unseen=("cpu",))
    rows = {one.name: one for one in playbook_table(policy)}
    errors = rows["errors (5xx)"]
    assert isinstance(errors, Ratio)
    assert (errors.limit, errors.breach) == (0.004, Breach.ROLLBACK)
    assert (rows["CPU"].absence, rows["memory"].absence) == (Absence.ALLOW, Absence.HOLD)
    for (name, key), field in POLICY_FIELDS.items():
        assert getattr(rows[name], key) == getattr(policy, field)
    assert not rows.keys() & {one.name for one in DEFAULT_SIGNALS}


def test_a_row_can_be_for_some_services_and_can_be_switched_off() -> None:
    """The others do not see it."""
    mine = DECLINED.model_copy(update={"services": ("backend",)})
    off = QUEUE.model_copy(update={"enabled": False})
    assert for_service((mine, off, LOST), "backend") == (mine, LOST)
    assert for_service((mine, off, LOST), "frontend") == (LOST,)
