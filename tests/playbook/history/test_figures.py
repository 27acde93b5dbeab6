"""Where a retrospective and a review draw their lines, and how they say their figures."""

from typing import Any

import pytest

from playbook.history.picture import Bar, bars
from playbook.history.record import Flow, Run, Step, false_alarms
from playbook.history.retrospective import action_items, retrospective_page, summary
from playbook.history.review import Review, automation_candidates, review, review_page

VERSION, OTHER = "v20251116-abc123", "v20251117-fed987"
DAY_S = 86_400.0


def run(outcome: str = "Promoted", ended_s: float = 10_000, took_s: float = 1000, **more: Any) -> Run:
    """One run that waited for no person."""
    given = {"run_id": "0123456789", "flow": Flow.RELEASE, "environment": "production", "outcome": outcome}
    times = {"asked_s": ended_s - took_s, "started_s": ended_s - took_s, "ended_s": ended_s, "worked_s": took_s}
    return Run(**{**given, **times, **more})


def monitored(seconds: float, **more: Any) -> Run:
    """A run whose canary was monitored for so long."""
    return run(steps=(Step(name="monitor", started_s=0, ended_s=seconds),), **more)


def figures(**changes: Any) -> Review:
    """The review of a quarter without a run."""
    return review([], "production", 0, 90 * DAY_S).model_copy(update=changes)


def kinds(found: Run, before: list[Run]) -> list[str]:
    """Which action items it gets."""
    return [item.key.split("/")[2] for item in action_items(found, before)]


@pytest.mark.parametrize(("worked_s", "items"), [(1000, []), (400, []), (399, ["wait"])])
def test_a_wait_of_more_than_ten_minutes_is_worth_an_item(worked_s: float, items: list[str]) -> None:
    """Of 1,000 seconds here."""
    assert kinds(run(worked_s=worked_s), []) == items


@pytest.mark.parametrize(
    ("usual_s", "now_s", "items"),
    [(200, 300, []), (200, 301, ["slow"]), (10, 40, []), (10, 41, ["slow"]), (None, 900, [])],
    ids=["half as long again", "more than that", "30 s longer", "more than 30 s longer", "nothing to compare with"],
)
def test_a_step_is_slow_at_half_as_long_again_and_30_s_more(
    usual_s: float | None, now_s: float, items: list[str]
) -> None:
    """A step of seconds that took twice as long is no reason to look."""
    before = [] if usual_s is None else [monitored(usual_s)]
    assert kinds(monitored(now_s), before) == items


@pytest.mark.parametrize(
    ("runs", "count"),
    [
        ([run("Reverted", 1, version=VERSION), run(ended_s=2, version=VERSION)], 1),
        ([run("Reverted", 1, version=VERSION), run(ended_s=2, version=OTHER)], 0),
        ([run("Reverted", 1, version=VERSION), run("Reverted", 2, version=VERSION)], 0),
        ([run("RolledBack", 1, version=VERSION), run(ended_s=2, version=VERSION)], 0),
        ([run(ended_s=1, version=VERSION), run("Reverted", 2, version=VERSION)], 0),
        ([run("Reverted", 1), run(ended_s=2)], 0),
    ],
    ids=["promoted later", "another was", "reverted again", "a person's rollback", "promoted before", "no version"],
)
def test_a_revert_was_a_false_alarm_where_the_same_version_was_promoted_later(runs: list[Run], count: int) -> None:
    """Unchanged: another version may have the fix in it."""
    assert len(false_alarms(runs)) == count


def test_a_false_alarm_is_told_with_its_own_version_only() -> None:
    """Two releases later it is no news."""
    before = [run("Reverted", 1, version=VERSION), run(ended_s=2, version=VERSION)]
    assert "False alarms: none known" in retrospective_page(run(ended_s=3, version=OTHER), before, [], {})
    assert "False alarms: none known" in retrospective_page(run("Reverted", 3, version=VERSION), before, [], {})
    assert f"False alarms: {VERSION} was taken back on" in retrospective_page(before[1], before[:1], [], {})


@pytest.mark.parametrize(
    ("found", "name"),
    [
        (run(version=VERSION), f"release {VERSION} to production"),
        (run(flow=Flow.HOTFIX, version=VERSION), f"hotfix {VERSION} to production"),
        (run(flow=Flow.ROLLBACK, version=VERSION), f"rollback of {VERSION} to production"),
        (run(flow=Flow.MIGRATION_ROLLBACK), "rollback of 01234567 to production"),
        (run(flow=Flow.RECOVERY), "release 01234567 to production"),
    ],
    ids=lambda one: one.flow if isinstance(one, Run) else "",
)
def test_a_run_is_named_by_what_it_did(found: Run, name: str) -> None:
    """Without a version, by its id in Prefect."""
    assert summary(found, [], "").startswith(f"📋 Retrospective of {name}: Promoted")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2.0 h")],
)
def test_a_duration_is_said_in_the_unit_that_people_use(seconds: float, words: str) -> None:
    """Seconds below two minutes, hours from two hours on."""
    assert f"Promoted after {words}, 0 s of it" in summary(run(took_s=seconds), [], "")


def test_bars_share_one_scale_with_what_is_usual() -> None:
    """The longer of the two fills the width; a step that was never seen before has no second bar."""
    drawn = bars({"a": Bar("a", 10, "10 s", 20), "b": Bar("b", 5, "5 s")})
    widths = [line.split('width="')[1].split('"')[0] for line in drawn.splitlines() if 'height="13"' in line]
    assert widths == ["230.0", "115.0"]
    assert drawn.count('height="5"') == 1
    assert 'width="460.0" height="5"' in drawn


@pytest.mark.parametrize(
    ("outcomes", "rate"),
    [
        (["Promoted", "Reverted"], 0),
        (["Promoted", "RolledBack"], 1),
        (["Promoted", "RolledBack", "RolledBack"], 1),
        (["Promoted", "Reverted", "RolledBack", "Promoted"], 1 / 2),
    ],
    ids=["a canary was reverted", "rolled back", "rolled back twice", "a canary was reverted in between"],
)
def test_only_a_release_that_all_users_had_can_be_a_failed_change(outcomes: list[str], rate: float) -> None:
    """A canary that was reverted is no change; two rollbacks after one release are one failure."""
    runs = [run(outcome, at) for at, outcome in enumerate(outcomes, 1)]
    assert review(runs, "production", 0, DAY_S).change_failure_rate == rate


def test_lost_processes_are_the_runs_that_crashed() -> None:
    """However many others there are."""
    runs = [run("Crashed"), run(), run(), run("Reverted")]
    assert review(runs, "production", 0, DAY_S).lost_processes == 1


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"waited_s": 3600}, []),
        ({"waited_s": 5400}, ["People were waited for during 1.5 h"]),
        ({"overrides": {"ci": 1, "scan": 2}}, ["scan was overridden 2 times"]),
        ({"causes": {"once": 1, "Error rate": 2}}, ["2 times: Error rate"]),
        ({"lost_processes": 1}, []),
        ({"lost_processes": 2}, ["2 runs lost their process"]),
    ],
)
def test_what_happened_twice_or_cost_more_than_an_hour_is_worth_automating(
    found: dict[str, Any], says: list[str]
) -> None:
    """What happened once is no pattern."""
    candidates = automation_candidates(figures(**found))
    assert len(candidates) == len(says)
    assert all(one.startswith(said) for one, said in zip(candidates, says, strict=True))


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (None, "| no deployments |"),
        (0.049, "| 4.9 %, within the target |"),
        (0.05, "| 5.0 %, **above the target** |"),
    ],
)
def test_the_rollback_rate_is_compared_with_the_playbooks_target(rate: float | None, words: str) -> None:
    """Less than 5 % of deployments."""
    assert words in review_page(figures(rollback_rate=rate))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (90, "1.5 min"),
        (7199, "120.0 min"),
        (7200, "2.0 h"),
        (2 * DAY_S - 360, "47.9 h"),
        (2 * DAY_S, "2.0 days"),
    ],
)
def test_the_lead_time_is_said_in_minutes_hours_or_days(seconds: float | None, words: str) -> None:
    """Hours from two hours on, days from two days on."""
    assert f"to all users | {words} |" in review_page(figures(lead_time_s=seconds))


def test_a_quarter_without_releases_says_so_in_each_part() -> None:
    """No empty table, no empty list."""
    page = review_page(figures())
    parts = {part.split("\n")[0]: part.split("\n", 1)[1].strip() for part in page.split("## ")[1:]}
    assert parts == {"Releases a month": "None.", "Repeated causes": "None.", "What to automate": "Nothing stands out."}


def test_a_quarter_with_trouble_lists_it() -> None:
    """Releases by month, causes that came twice, and what to automate."""
    page = review_page(figures(per_month={"2026-10": 4}, causes={"once": 1, "Error rate": 2}))
    parts = {part.split("\n")[0]: part.split("\n", 1)[1].strip() for part in page.split("## ")[1:]}
    assert parts["Releases a month"].splitlines()[2:] == [f"| 2026-10 | `{'█' * 20}` | 4 |"]
    assert parts["Repeated causes"] == "- 2 times: Error rate"
    assert parts["What to automate"] == "- [ ] 2 times: Error rate"
