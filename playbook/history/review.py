"""The quarterly review (playbook 9): velocity, rollback rate, DORA's four figures, and what to automate next."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import median

from playbook.base import Frozen
from playbook.history.record import Flow, Run, false_alarms, moved_users
from playbook.messages.escape import markdown
from playbook.messages.times import day
from playbook.release.outcome import ReleaseOutcome

ROLLBACK_RATE_MAX = 0.05
"""Playbook 9: less than 5 % of deployments."""
DAY_S = 86_400.0
REPEATED = 2
SHOWN = 5
TROUBLE = (ReleaseOutcome.REVERTED, ReleaseOutcome.REFUSED, ReleaseOutcome.HALTED, "Failed")
_SPECIFIC = re.compile(r"v\d{8}-(?:hotfix\d+-)?[0-9a-f]+|\b[a-z0-9-]+-\d{5}-\w+\b|\d+([.,]\d+)*")


class Review(Frozen):
    """The figures of one span of time, in unix seconds, of one environment. Durations in seconds, ratios 0 to 1."""

    environment: str
    from_s: float
    to_s: float
    per_month: dict[str, int]
    """month (2026-11) -> versions that reached all users"""
    promoted: int
    reverted: int
    """canaries and hotfixes that were taken back before or minutes after all users had them"""
    rolled_back: int
    """promoted releases that a person took back"""
    rollback_rate: float | None
    """(reverted + rolled back) / (promoted + reverted); None without a deployment"""
    change_failure_rate: float | None
    """promoted releases that were rolled back or followed by a hotfix before the next release / promoted"""
    lead_time_s: float | None
    """median from the day that the version names to all users having it; a day is as exact as a version is"""
    release_time_s: float | None
    """median from the request to all users having it"""
    restore_time_s: float | None
    """median from a request of a rollback to all users being back"""
    waited_s: float
    """for people, in all runs together"""
    false_alarms: int
    """releases that were taken back, and whose version all users got later, unchanged"""
    causes: dict[str, int]
    """what a release was taken back or refused for, numbers and names left out -> how often"""
    overrides: dict[str, int]
    """item of the checklist -> how often it was overridden"""
    lost_processes: int


def review(runs: Sequence[Run], environment: str, from_s: float, to_s: float) -> Review:
    """The figures of the runs that ended from ``from_s`` to before ``to_s``."""
    within = [run for run in runs if run.environment == environment and from_s <= run.ended_s < to_s]
    moved = moved_users(within)
    promoted = [run for run in moved if run.is_promoted]
    reverted = [run for run in moved if run.outcome == ReleaseOutcome.REVERTED]
    back = [run for run in moved if run.outcome == ReleaseOutcome.ROLLED_BACK]
    deployed = len(promoted) + len(reverted)
    causes = Counter(_cause(run.message) for run in within if run.outcome in TROUBLE)
    return Review(
        environment=environment,
        from_s=from_s,
        to_s=to_s,
        per_month=dict(sorted(Counter(f"{_date(run.ended_s):%Y-%m}" for run in promoted).items())),
        promoted=len(promoted),
        reverted=len(reverted),
        rolled_back=len(back),
        rollback_rate=(len(reverted) + len(back)) / deployed if deployed else None,
        change_failure_rate=_failed_changes(moved) / len(promoted) if promoted else None,
        lead_time_s=_median([run.ended_s - made for run in promoted if (made := _made_s(run.version)) is not None]),
        release_time_s=_median([run.took_s for run in promoted]),
        restore_time_s=_median([run.took_s for run in back]),
        waited_s=sum(run.waited_s for run in within),
        false_alarms=len(false_alarms(within)),
        causes={cause: count for cause, count in causes.most_common(SHOWN) if cause},
        overrides=dict(Counter(item for run in within for item in run.overrides).most_common(SHOWN)),
        lost_processes=sum(run.outcome == "Crashed" for run in within),
    )


def _failed_changes(moved: Sequence[Run]) -> int:
    """Promoted releases whose next event is a rollback or a hotfix: each counts once."""
    failed, standing = 0, False
    for run in moved:
        if run.is_promoted:
            failed += standing and run.flow is Flow.HOTFIX
            standing = True
        elif run.outcome == ReleaseOutcome.ROLLED_BACK and standing:
            failed, standing = failed + 1, False
    return failed


def automation_candidates(figures: Review) -> list[str]:
    """What cost people most, as sentences, the most expensive first."""
    found = []
    if figures.waited_s > 3600:
        found.append(f"People were waited for during {figures.waited_s / 3600:.1f} h: let policy decide what it can.")
    found += [
        f"{item} was overridden {count} times: automate it, or say in the environment file that it is not needed."
        for item, count in figures.overrides.items()
        if count >= REPEATED
    ]
    found += [f"{count} times: {cause}" for cause, count in figures.causes.items() if count >= REPEATED]
    if figures.lost_processes >= REPEATED:
        found.append(f"{figures.lost_processes} runs lost their process: look at the worker's host.")
    return found


def review_page(figures: Review) -> str:
    """The review as a page. Markdown."""
    rate = figures.rollback_rate
    against = "" if rate is None else ", within the target" if rate < ROLLBACK_RATE_MAX else ", **above the target**"
    most = max(figures.per_month.values(), default=1)
    months = [f"| {month} | `{'█' * round(20 * n / most):20}` | {n} |" for month, n in figures.per_month.items()]
    todo = automation_candidates(figures)
    return "\n".join(
        [
            f"# Review of {markdown(figures.environment)}, {day(figures.from_s)} to {day(figures.to_s - 1)}",
            "",
            "| | |",
            "|---|---|",
            f"| Promoted | {figures.promoted} |",
            f"| Reverted by the engine | {figures.reverted} |",
            f"| Rolled back by a person | {figures.rolled_back} |",
            f"| Rollback rate (target below 5 %) | {_percent(rate)}{against} |",
            f"| Change failure rate | {_percent(figures.change_failure_rate)} |",
            f"| Lead time, from the version's day to all users | {_long(figures.lead_time_s)} |",
            f"| From request to all users | {_long(figures.release_time_s)} |",
            f"| Time to restore, from request of a rollback | {_long(figures.restore_time_s)} |",
            f"| False alarms (taken back, promoted unchanged later) | {figures.false_alarms} |",
            f"| Waiting for people, together | {_long(figures.waited_s)} |",
            "",
            "## Releases a month",
            "",
            *(["| month | | releases |", "|---|---|---|", *months] if months else ["None."]),
            "",
            "## Repeated causes",
            "",
            *([f"- {n} times: {markdown(cause)}" for cause, n in figures.causes.items() if n >= REPEATED] or ["None."]),
            "",
            "## What to automate",
            "",
            *([f"- [ ] {markdown(one)}" for one in todo] or ["Nothing stands out."]),
        ]
    )


def quarter_before(now_s: float) -> tuple[float, float]:
    """The last whole quarter of the calendar before ``now_s``, in unix seconds (UTC): its start, and the next one's."""
    now = _date(now_s)
    quarter = 4 * now.year + (now.month - 1) // 3
    start, end = (datetime(one // 4, 3 * (one % 4) + 1, 1, tzinfo=UTC) for one in (quarter - 1, quarter))
    return start.timestamp(), end.timestamp()


def _cause(message: str) -> str:
    return _SPECIFIC.sub("…", message.split("\n")[0])[:160].strip()


def _made_s(version: str) -> float | None:
    try:
        return datetime.strptime(version[1:9], "%Y%m%d").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _date(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _percent(ratio: float | None) -> str:
    return "no deployments" if ratio is None else f"{100 * ratio:.1f} %"


def _long(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 7200:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 2 * DAY_S else f"{seconds / DAY_S:.1f} days"
