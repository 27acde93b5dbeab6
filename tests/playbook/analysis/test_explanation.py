"""What a verdict says in words, reason by reason: the number, its limit, and what to do."""

from typing import Any

import pytest

from playbook.analysis.evidence import Evidence
from playbook.analysis.explanation import SHARED, counted, odds, reason_decides, sentence
from playbook.analysis.levels import Saturation, Window
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Observation
from playbook.incident.decision_matrix import Reason

POLICY = Policy()
START_S = 1_763_647_200.0
BLANK = Evidence.start(
    service="backend", canary="backend-new", stable=("backend-old",), bake_start_s=START_S, policy=POLICY, phi_hat=1.0
)._replace(now_s=START_S + 600)


def said(reason: Reason, evidence: Evidence = BLANK, *, eta_s: float | None = None, left_s: float = 0.0) -> str:
    """The sentence of a verdict; an error rate of 1 % is ruled out."""
    return sentence(reason, evidence, POLICY, bound=0.01, eta_s=eta_s, left_s=left_s)


def seen(**fields: Any) -> Evidence:
    """Ten minutes of a bake in which this was seen."""
    return BLANK._replace(**fields)


CASES: dict[str, tuple[Reason, Evidence, str]] = {
    "one instance out of memory": (
        Reason.OOM_KILLED,
        seen(oom_kills=1),
        "1 instance of backend-new killed for lack of memory; the limit is 0.",
    ),
    "more instances out of memory": (Reason.OOM_KILLED, seen(oom_kills=2), "2 instances of backend-new killed"),
    "errors of the last minutes": (
        Reason.ERRORS_PROVEN,
        seen(window=Window(1000, 6), bake=Window(2000, 20)),
        "Error rate 0.6 % (6 of 1,000 requests, last 300 s) is above 0.5 %.",
    ),
    "errors of the whole bake": (
        Reason.ERRORS_AT_DEADLINE,
        seen(window=Window(1000, 5), bake=Window(2000, 20)),
        "Error rate 1 % (20 of 2,000 requests, whole bake) is above 0.5 %.",
    ),
    "errors beside stable's": (
        Reason.ERRORS_REGRESSED,
        seen(window=Window(1000, 60), stable_bake=Window(9000, 9)),
        "is above 0.5 %. Stable's is 0.1 % (9 of 9,000 requests).",
    ),
    "errors without stable's": (
        Reason.ERRORS_LITERAL,
        seen(window=Window(1000, 60), stable_bake=Window(9000, 9)),
        "Error rate 6 % (60 of 1,000 requests, last 300 s) is above 0.5 %.",
    ),
    "no metrics": (Reason.TELEMETRY_MISSING, BLANK, "no metrics received from backend-new in 600 s, but"),
    "old metrics": (Reason.TELEMETRY_STALE, BLANK, "the newest metrics of backend-new are 600 s old; the limit is 60"),
    "half the metrics": (Reason.TELEMETRY_PARTIAL, seen(covered_s=300.0), "metrics cover 300 of 600 s; at least 60 %"),
    "no requests": (Reason.NO_TRAFFIC, BLANK, "backend-new received no requests of users in 600 s (health"),
    "no durations": (Reason.LATENCY_UNKNOWN, seen(bake=Window(1200, 0)), "none of 1,200 requests has a duration."),
    "no CPU": (Reason.CPU_UNKNOWN, BLANK, "No evidence of CPU use: nothing was received in 600 s. Check the cpu query"),
    "no memory": (Reason.MEMORY_UNKNOWN, BLANK, "of memory use: nothing was received in 600 s. Check the memory query"),
    "no logs": (Reason.OOM_UNKNOWN, BLANK, "The logs did not answer in 600 s"),
    "slow, then nothing": (
        Reason.LATENCY_5S,
        BLANK,
        "P95 latency was above 5 s before instances were added, and no request was timed since.",
    ),
    "slow": (
        Reason.LATENCY_5S,
        seen(latency=BLANK.latency._replace(bake=Window(100, 9))),
        "the limit is 5 %. More instances are added once.",
    ),
    "slow with more instances": (
        Reason.LATENCY_5S,
        seen(latency=BLANK.latency._replace(bake=Window(100, 9)), scaled_at_s=START_S + 60),
        "the limit is 5 %. More instances did not help.",
    ),
    "rather slow": (Reason.LATENCY_2S, BLANK, "P95 latency is above 2 s"),
    "first requests": (
        Reason.FIRST_REQUESTS_FAILED,
        seen(bake=Window(500, 1)),
        "requests failed before the first scrape of backend-new; since then 1 of 500.",
    ),
    "new errors": (
        Reason.NEW_ERRORS,
        seen(new_errors=("KeyError: a", "OSError")),
        "logged 2 kinds of errors that stable does not have: KeyError: a; OSError. A person decides",
    ),
    "worse than stable": (
        Reason.ERRORS_WORSE,
        seen(bake=Window(10_000, 8), stable_bake=Window(90_000, 9)),
        "is below 0.1 %, but stable's is 0.01 % (9 of 90,000 requests): a regression.",
    ),
    "CPU": (
        Reason.CPU,
        seen(cpu=Saturation(level=0.93), memory=Saturation(level=0.5)),
        "CPU use was above 80 % for 120 s (now 93 %).",
    ),
    "memory": (
        Reason.MEMORY,
        seen(cpu=Saturation(level=0.93), memory=Saturation(level=0.5)),
        "Memory use was above 85 % for 120 s (now 50 %).",
    ),
    "a shared cause": (
        Reason.SHARED_CAUSE,
        seen(set_aside_s=40.0),
        "Stable fails too, for 40 s so far: the cause is probably shared.",
    ),
    "perhaps a shared cause": (
        Reason.SHARED_CAUSE,
        seen(window=Window(1000, 60)),
        "Error rate 6 % (60 of 1,000 requests, last 300 s). Whether stable fails too is known within 15 s.",
    ),
    "nothing yet": (Reason.COLLECTING, BLANK, "No requests yet; an error rate of 0.5 % must be ruled out."),
    "collecting": (
        Reason.COLLECTING,
        seen(bake=Window(1000, 1)),
        "Error rate 0.1 % (1 of 1,000 requests); so far 1 % is ruled out, and 0.5 % must be.",
    ),
    "between the lines": (
        Reason.ERRORS_IN_BAND,
        seen(bake=Window(1000, 3)),
        "Error rate 0.3 % (3 of 1,000 requests) is between 0.1 % and 0.5 %",
    ),
    "healthy": (Reason.HEALTHY, seen(bake=Window(2000, 1)), "is below 0.5 %; 1 % or more is ruled out."),
    "too few": (Reason.TOO_FEW_REQUESTS, seen(bake=Window(90, 0)), "More requests like these will not decide it."),
}


@pytest.mark.parametrize(("reason", "evidence", "words"), CASES.values(), ids=CASES)
def test_each_reason_is_said_with_its_numbers(reason: Reason, evidence: Evidence, words: str) -> None:
    """As people read it at night."""
    assert words in said(reason, evidence)


def test_every_reason_of_the_judge_has_a_sentence() -> None:
    """Two that differ in reason may not be told apart by it alone, but none is empty."""
    assert all(len(said(reason, seen(oom_kills=1, bake=Window(1000, 1)))) > 20 for reason in Reason)


def test_a_fault_of_the_telemetry_is_told_with_its_fix() -> None:
    """As the look that found it said it."""
    found = BLANK.observe(Observation(START_S + 600, faults=("half of it is missing",)))
    assert "cannot be judged; this says nothing about the code. half of it is missing" in said(
        Reason.TELEMETRY_FAULTY, found
    )


def test_errors_that_are_over_are_told_by_the_part_that_was_worst(bake: Any, tick: Any) -> None:
    """The last minutes and the whole bake are below the limit: a recovery judges what its dead run left undecided."""
    ticks = [*[tick(n=1000)] * 10, tick(n=100, x=4), *[tick(n=100, x=40)] * 2, *[tick(n=100)] * 80]
    found = bake().folded(ticks)
    assert said(Reason.ERRORS_PROVEN, found._replace(window=Window(), bake=Window())) == (
        "Error rate 28 % (84 of 300 requests, 50 to 65 s into the bake) was above 0.5 %."
    )


def test_errors_that_go_on_are_told_from_where_they_began(bake: Any, tick: Any) -> None:
    """Before them were requests enough to hide them in every window."""
    found = bake().folded([*[tick(n=100_000)] * 10, *[tick(n=100, x=40)] * 3])
    assert said(Reason.ERRORS_PROVEN, found) == ("Error rate 40 % (120 of 300 requests, last 15 s) is above 0.5 %.")


@pytest.mark.parametrize(("eta_s", "words"), [(None, "will not decide it"), (90.0, "About 90 s more would do.")])
def test_too_few_requests_say_how_long_it_would_take(eta_s: float | None, words: str) -> None:
    """Where more of the same would do."""
    assert words in said(Reason.TOO_FEW_REQUESTS, seen(bake=Window(90, 0)), eta_s=eta_s)


def test_the_time_that_is_left_is_told_while_the_bake_goes_on() -> None:
    """A reason that ends the bake leaves no time."""
    assert said(Reason.COLLECTING, left_s=300).endswith(" 300 s of the bake are left.")
    assert "are left" not in said(Reason.COLLECTING, left_s=0)
    assert "are left" not in said(Reason.ERRORS_PROVEN, seen(window=Window(1000, 60)), left_s=300)
    assert not reason_decides(Reason.COLLECTING)


def test_time_in_which_stable_failed_is_told_once() -> None:
    """It is set aside; where it is the reason, the sentence says so itself."""
    assert "Stable failed too for 40 s, which are not counted." in said(Reason.HEALTHY, seen(set_aside_s=40.0))
    assert "Stable failed too" not in said(Reason.SHARED_CAUSE, seen(set_aside_s=40.0))
    assert "Stable failed too" not in said(Reason.HEALTHY)
    assert "shared" in SHARED


@pytest.mark.parametrize(
    ("value", "words"), [(312.4, "312"), (4100, "4,100"), (1e6, "1,000,000"), (1e6 + 1, "more than a million")]
)
def test_odds_are_said_as_a_number_up_to_a_million(value: float, words: str) -> None:
    """Beyond it no person compares them."""
    assert odds(value) == words


def test_a_ratio_is_said_with_how_many_of_how_many() -> None:
    """And in which time, where that is known."""
    assert counted(Window(376, 18)) == "4.79 % (18 of 376 requests)"
    assert counted(Window(376, 18), "last 20 s") == "4.79 % (18 of 376 requests, last 20 s)"
