"""Retrospective and review: figures that a person can check by hand."""

import base64
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

from playbook.history.record import Flow, Run, Step
from playbook.history.retrospective import action_items, durations, retrospective_page, summary
from playbook.history.review import automation_candidates, quarter_before, review, review_page

NOON = datetime(2026, 10, 1, 12, tzinfo=UTC).timestamp()
DAY_S = 86_400.0


def run(outcome: str = "Promoted", day: float = 0, took_s: float = 1000, **more: Any) -> Run:
    """A release that ended at noon, ``day`` days after 2026-10-01."""
    ended_s = NOON + day * DAY_S
    given = {"run_id": f"run-{day}-{outcome}", "flow": Flow.RELEASE, "environment": "production", "outcome": outcome}
    times = {"asked_s": ended_s - took_s, "started_s": ended_s - took_s, "ended_s": ended_s, "worked_s": took_s}
    return Run(**{**given, **times, **more})


def october(*runs: Run) -> Any:
    """The review of October 2026."""
    return review(runs, "production", NOON - DAY_S / 2, NOON + 30.5 * DAY_S)


def test_time_that_two_steps_share_counts_once() -> None:
    """Smoke tests of three services run side by side."""
    steps = [
        Step(name="smoke test ethixai-backend", started_s=0, ended_s=10),
        Step(name="smoke test ethixai-frontend", started_s=5, ended_s=12),
        Step(name="monitor v20251116-abc123", started_s=20, ended_s=80),
    ]
    assert durations(steps) == {"smoke test": 12, "monitor": 60}


def test_a_smooth_release_has_nothing_to_do_and_is_celebrated() -> None:
    """Playbook 9: celebrate successes."""
    smooth = run()
    assert action_items(smooth, []) == []
    assert "smooth release" in retrospective_page(smooth, [], [], {})
    assert "smooth release" in summary(smooth, [], "https://prefect.example")


def test_what_was_in_the_way_becomes_an_item() -> None:
    """Taken back, overridden, waited for, slower than the ten before: one item each, with the figures."""
    usual = [run(day=day, steps=(Step(name="monitor", started_s=0, ended_s=60),)) for day in range(10)]
    slow = (Step(name="monitor", started_s=0, ended_s=300),)
    bad = run("Reverted", 11, 4000, worked_s=1000, overrides=("ci",), steps=slow, message="Error rate 4.8 %.")
    titles = {item.key.split("/")[2]: f"{item.title}: {item.why}" for item in action_items(bad, usual)}
    assert set(titles) == {"cause", "override", "wait", "slow"}
    assert "Error rate 4.8 %." in titles["cause"]
    assert "50 min" in titles["wait"]
    assert "5 min, usually 60 s" in titles["slow"]


def test_text_from_outside_stays_text_on_the_page() -> None:
    """A reason with Markdown in it makes no image and no row."""
    page = retrospective_page(run(message="![x](https://evil.example) | <b>"), [], [], {})
    assert "![x]" not in page
    assert "<b>" not in page


def test_the_rollback_rate_counts_what_was_taken_back_of_what_was_deployed() -> None:
    """18 promoted, one canary reverted, one promoted release rolled back: 2 of 19."""
    promoted = [run(day=day) for day in range(18)]
    found = october(*promoted, run("Reverted", 18), run("RolledBack", 18.5, flow=Flow.ROLLBACK))
    assert (found.promoted, found.reverted, found.rolled_back) == (18, 1, 1)
    assert found.rollback_rate == 2 / 19
    assert found.change_failure_rate == 1 / 18
    assert found.per_month == {"2026-10": 18}
    assert "above the target" in review_page(found)


def test_a_hotfix_after_a_release_counts_as_its_failure_once() -> None:
    """A failed change was fixed by a hotfix; the hotfix itself stood."""
    found = october(run(day=1), run(day=2, flow=Flow.HOTFIX), run(day=3))
    assert found.change_failure_rate == 1 / 3


def test_other_environments_and_other_days_do_not_count() -> None:
    """The end belongs to the next span: no run is in two quarters."""
    outside = [run(day=40), run(day=-40), run(day=1, environment="staging"), run(day=30.5)]
    assert october(*outside).promoted == 0
    assert october(*outside).rollback_rate is None


def test_causes_are_the_same_whatever_the_numbers() -> None:
    """Two reverts for the error rate are one cause, twice."""
    causes = october(
        run("Reverted", 1, message="Error rate 4.8 % (18 of 376 requests) is above 0.5 %."),
        run("Reverted", 2, message="Error rate 5.1 % (21 of 411 requests) is above 0.5 %."),
    )
    assert list(causes.causes.values()) == [2]
    assert any(one.startswith("2 times: Error rate") for one in automation_candidates(causes))


def test_a_run_that_recovery_finished_counts_once() -> None:
    """The run that lost its process is Crashed; the recovery that finished it is Promoted."""
    found = october(run("Crashed", 1), run("Promoted", 1.01, flow=Flow.RECOVERY))
    assert (found.promoted, found.lost_processes) == (1, 1)


def test_the_quarter_before_is_a_whole_one() -> None:
    """In January it is the last quarter of the year before."""
    for now, start, end in [
        (datetime(2026, 11, 26), datetime(2026, 7, 1), datetime(2026, 10, 1)),
        (datetime(2027, 1, 1), datetime(2026, 10, 1), datetime(2027, 1, 1)),
        (datetime(2026, 4, 1), datetime(2026, 1, 1), datetime(2026, 4, 1)),
    ]:
        expected = (start.replace(tzinfo=UTC).timestamp(), end.replace(tzinfo=UTC).timestamp())
        assert quarter_before(now.replace(tzinfo=UTC).timestamp()) == expected


def test_a_version_that_was_taken_back_and_promoted_unchanged_was_a_false_alarm() -> None:
    """In the review it is counted; the retrospective of the second release names the day and opens an item."""
    version = {"version": "v20251116-abc123"}
    reverted, promoted = run("Reverted", 1, **version), run("Promoted", 2, **version)
    other = run("Reverted", 3, version="v20251117-fed987")
    assert october(reverted, promoted, other).false_alarms == 1
    assert "taken back on 2026-10-02" in retrospective_page(promoted, [reverted], [], {})
    assert [item.key.split("/")[2] for item in action_items(promoted, [reverted])] == ["false-alarm"]
    assert action_items(other, [reverted, promoted])[0].key.endswith("cause")


def test_the_page_has_error_ratios_and_a_picture() -> None:
    """What is not known is said to be so; the picture shows this release beside what is usual."""
    steps = (Step(name="monitor <b>", started_s=0, ended_s=300),)
    errors = {"ethixai-backend": 0.0012, "ethixai-frontend": None}
    page = retrospective_page(run(steps=steps), [run(day=-1, steps=steps)], [], {}, errors)
    assert "ethixai-backend 0.12 %; not known: ethixai-frontend" in page
    encoded = page.split("data:image/svg+xml;base64,")[1].split(")")[0]
    picture = ElementTree.fromstring(base64.b64decode(encoded))  # our own text
    assert len([one for one in picture.iter() if one.get("class") == "usual"]) == 2
    assert "not known" in retrospective_page(run(), [], [], {})
