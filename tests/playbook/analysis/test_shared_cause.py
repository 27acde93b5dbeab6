"""`shared_cause = "hold"`: stable fails too, so the judge waits until stable is well, and judges on."""

from typing import Any

import pytest

from playbook.analysis.policy import Policy, SharedCause
from playbook.analysis.verdict import Action, Reason, Verdict, judge

HOLD = Policy.compressed().model_copy(update={"shared_cause": SharedCause.HOLD})
"""A bake of 60 scrapes."""
FINE = {"n": 100, "m": 900}


def outage(ratio: float, rate: int = 100) -> dict[str, int]:
    """One scrape in which canary and stable fail alike."""
    return {"n": rate, "m": 9 * rate, "x": int(rate * ratio), "y": int(9 * rate * ratio)}


def told(bake: Any, tick: Any, *stretches: tuple[int, dict[str, int]], policy: Policy = HOLD) -> list[Verdict]:
    """What the judge says scrape by scrape, of so many scrapes of each kind."""
    ticks = [tick(**what) for count, what in stretches for _ in range(count)]
    return list(bake(policy=policy).verdicts(ticks))


@pytest.mark.parametrize("ratio", [0.02, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("rate", [30, 100, 10_000])
def test_the_judge_waits_while_stable_fails_and_promotes_when_both_are_well(
    bake: Any, tick: Any, ratio: float, rate: int
) -> None:
    """A fifth of the bake is a shared outage: nothing is decided in it, people are told, a healthy rest promotes."""
    fine = {"n": rate, "m": 9 * rate}
    if rate * ratio < 1:
        pytest.skip("no whole request fails")
    seen = told(bake, tick, (20, fine), (12, outage(ratio, rate)), (28, fine))
    assert (seen[-1].action, seen[-1].reason) == (Action.PROMOTE, Reason.HEALTHY)
    assert "Stable failed too for" in seen[-1].explanation
    waiting = [one for one in seen if one.reason is Reason.SHARED_CAUSE]
    assert len(waiting) >= 10
    assert {one.action for one in waiting} == {Action.CONTINUE}
    assert any(one.alert and one.attribution == "shared" for one in waiting)
    assert any("the cause is probably shared" in one.explanation for one in waiting)


def test_the_default_rolls_back_as_the_playbook_says(bake: Any, tick: Any) -> None:
    """The limit is absolute unless the team says otherwise."""
    last = told(bake, tick, (20, FINE), (12, outage(0.2)), (28, FINE), policy=Policy.compressed())[-1]
    assert (last.action, last.attribution) == (Action.ROLLBACK, "shared")


@pytest.mark.parametrize(
    ("after", "why"),
    [({"n": 100, "m": 900, "x": 5}, "it still fails once stable is well"), (dict(outage(0.05), x=60), "it is worse")],
    ids=["fails on when stable is well", "fails far more than stable"],
)
def test_a_canary_that_is_at_fault_itself_is_rolled_back(bake: Any, tick: Any, after: dict[str, int], why: str) -> None:
    """A shared outage excuses nothing that the canary does beyond it."""
    last = told(bake, tick, (20, FINE), (8, outage(0.05)), (32, after))[-1]
    assert last.action is Action.ROLLBACK, why
    assert last.attribution == "canary"


@pytest.mark.parametrize(("broken", "within_s"), [({"n": 100, "x": 100}, 5), ({"n": 100, "x": 5}, 7)])
def test_a_canary_that_fails_alone_is_rolled_back_some_scrapes_later(
    bake: Any, tick: Any, broken: dict[str, int], within_s: float
) -> None:
    """Stable is given three scrapes to show the same."""
    one = bake(policy=HOLD)
    last = list(one.verdicts([tick(**broken, m=900)] * 60))[-1]
    assert last.action is Action.ROLLBACK
    assert one.at_s(last) <= within_s


def test_a_canary_that_is_scraped_before_stable_is_not_blamed(bake: Any, tick: Any) -> None:
    """An outage shows on the canary one scrape earlier than on stable."""
    early = {"n": 100, "m": 900, "x": 50}
    last = told(bake, tick, (20, FINE), (1, early), (11, outage(0.5)), (1, {**FINE, "y": 450}), (27, FINE))[-1]
    assert last.action is Action.PROMOTE


def test_what_says_within_scrapes_that_the_canary_fails_says_it_of_stable_too(bake: Any, tick: Any) -> None:
    """1 % on both, from the start: the rule for faults that last rolls back after 15 s, and blames a shared cause."""
    counts = ((105, 2, 893, 9), (107, 3, 892, 12), (103, 1, 891, 9))
    ticks = [tick(**dict(zip(("n", "x", "m", "y"), one, strict=True))) for one in counts]
    verdict = list(bake(policy=Policy()).verdicts(ticks))[-1]
    assert (verdict.action, verdict.reason) == (Action.ROLLBACK, Reason.ERRORS_MEASURED)
    assert verdict.attribution == "shared"
    ticks = [
        tick(**dict(zip(("n", "x", "m"), one, strict=False))) for one in ((105, 2, 893), (107, 3, 892), (103, 1, 891))
    ]
    assert list(bake(policy=Policy()).verdicts(ticks))[-1].attribution == "canary"


@pytest.mark.parametrize("scrapes", [20, 40])
def test_an_outage_that_lasts_until_the_end_is_held(bake: Any, tick: Any, scrapes: int) -> None:
    """Neither promoted nor rolled back: it is waited for until the gate's deadline."""
    last = told(bake, tick, (60 - scrapes, FINE), (scrapes, outage(0.2)))[-1]
    assert (last.action, last.reason) == (Action.INCONCLUSIVE, Reason.SHARED_CAUSE)


def test_a_bake_that_was_mostly_an_outage_is_held(bake: Any, tick: Any) -> None:
    """Less than 60 % of it is left to judge."""
    last = told(bake, tick, (10, FINE), (30, outage(0.2)), (20, FINE))[-1]
    assert (last.action, last.reason) == (Action.INCONCLUSIVE, Reason.SHARED_CAUSE)


def test_a_longer_bake_judges_on(bake: Any, tick: Any) -> None:
    """Held at the end, then stable is well for as long again: promoted."""
    one = bake(policy=HOLD)
    course = [tick(**FINE)] * 30 + [tick(**outage(0.2))] * 30 + [tick(**FINE)] * 60
    assert judge(one.folded(course), HOLD.extended(60)).action is Action.PROMOTE


def test_a_slow_dependency_is_waited_for(bake: Any, tick: Any) -> None:
    """Both are slower than 5 s: no instance is added, and the rest of the bake decides."""
    slow = {"n": 100, "m": 900, "very_slow": 30, "stable_very_slow": 270}
    seen = told(bake, tick, (20, FINE), (8, slow), (32, FINE))
    assert seen[-1].action is Action.PROMOTE
    assert Action.SCALE not in {one.action for one in seen}


def test_a_kill_for_memory_is_the_canarys_own(bake: Any, tick: Any) -> None:
    """Whatever stable does."""
    last = told(bake, tick, (10, FINE), (5, outage(0.2)), (1, {**outage(0.2), "oom_kills": 1}))[-1]
    assert (last.action, last.reason, last.attribution) == (Action.ROLLBACK, Reason.OOM_KILLED, "canary")
