"""The retrospective of one release (playbook 9): how long what took, what was in the way, and what to do about it."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from playbook.analysis.chart import data_uri
from playbook.analysis.explanation import percent
from playbook.base import Frozen
from playbook.history.picture import Bar, bars
from playbook.history.record import Flow, Run, Step, false_alarms
from playbook.messages.escape import markdown
from playbook.messages.times import clock_s, day
from playbook.release.outcome import ReleaseOutcome

BEFORE = 10
"""How many releases before it a release is compared with."""
SLOWEST = 6
SLOWER = 1.5
"""A step is slow when it took this many times the median of the releases before, and `SLOW_S` more."""
SLOW_S = 30.0
WAIT_S = 600.0
"""Waiting for people that is worth an action item."""
_WORD = r"v\d{8}-(hotfix\d+-)?[0-9a-f]+|[\w.-]*/[\w./-]*|[a-z][a-z0-9]*(-[a-z0-9]+)+|(to )?(production|staging)"
_SUBJECT = re.compile(rf"(\s+({_WORD}))+$")


class ActionItem(Frozen):
    """One thing to do after a release; ``key`` is the same for the same thing of the same run."""

    key: str
    title: str
    why: str


def durations(steps: Sequence[Step]) -> dict[str, float]:
    """Kind of step -> seconds in which at least one of that kind ran.

    The kind is the step's name without its services, versions and environments: they run side by side.
    """
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for step in steps:
        spans[_SUBJECT.sub("", step.name)].append((step.started_s, step.ended_s))
    return {kind: _union_s(found) for kind, found in spans.items()}


def _union_s(spans: Sequence[tuple[float, float]]) -> float:
    total, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def usual(before: Sequence[Run]) -> dict[str, float]:
    """Kind of step -> its median seconds in the runs ``before``."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for run in before:
        for kind, seconds in durations(run.steps).items():
            found[kind].append(seconds)
    return {kind: median(seconds) for kind, seconds in found.items()}


def action_items(run: Run, before: Sequence[Run]) -> list[ActionItem]:
    """What a person should follow up, by rule; empty for a release without a fault, a wait or an override."""

    def item(name: str, title: str, why: str) -> ActionItem:
        return ActionItem(key=f"retrospective/{run.run_id}/{name}", title=title, why=why)

    found = []
    if run.is_taken_back:
        found.append(item("cause", f"Find out why {_named(run)} was taken back", run.message))
    if run.outcome in (ReleaseOutcome.REFUSED, ReleaseOutcome.INTERRUPTED, ReleaseOutcome.HALTED, "Failed"):
        found.append(item("end", f"Find out why {_named(run)} ended {run.outcome}", run.message))
    if run.overrides:
        what = ", ".join(run.overrides)
        found.append(item("override", f"Make {what} pass without an override", f"{_named(run)} overrode: {what}."))
    if run.waited_s > WAIT_S:
        why = f"{_named(run)} waited {_minutes(run.waited_s)} for people."
        found.append(item("wait", "Shorten the wait for people", why))
    if alarm := _false_alarm(run, before):
        why = f"{_named(run)} was taken back before, and promoted unchanged: {alarm}."
        found.append(item("false-alarm", f"Find out why {run.version} was taken back without a fault", why))
    medians = usual(before)
    for kind, seconds in durations(run.steps).items():
        if kind in medians and seconds > max(SLOWER * medians[kind], medians[kind] + SLOW_S):
            why = f"{kind} took {_minutes(seconds)}, usually {_minutes(medians[kind])}."
            found.append(item(f"slow/{kind}", f"Find out why {kind} was slow", why))
    return found


def retrospective_page(
    run: Run,
    before: Sequence[Run],
    items: Sequence[ActionItem],
    links: Mapping[str, str],
    errors: Mapping[str, float | None] | None = None,
) -> str:
    """The page of one release. Markdown. ``before`` are the newest releases before it; ``links`` name -> URL;
    ``errors`` service -> the highest error ratio (0 to 1) of its new revision, None where it is not known."""
    promoted = sum(one.is_promoted for one in before)
    took = [one.took_s for one in before]
    compared = f"; usually {_minutes(median(took))}" if took else ""
    lines = [
        f"# Retrospective of {markdown(_named(run))}",
        f"**{markdown(run.outcome)}**, {day(run.ended_s)} {clock_s(run.ended_s)} UTC. {markdown(run.message)}",
        f"- From request to end: {_minutes(run.took_s)}{compared}",
        f"- Waiting for people: {_minutes(run.waited_s)}",
        f"- Asked for by: {markdown(run.requested_by) or 'not said'}",
        f"- Error ratio of the new revisions, highest: {markdown(_errors(errors or {}))}",
        f"- False alarms: {markdown(_false_alarm(run, before) or 'none known')}",
        f"- Overridden: {markdown(', '.join(run.overrides)) or 'nothing'}",
        f"- Of the {len(before)} before it: {promoted} promoted, {len(before) - promoted} taken back",
        *(f"- [{markdown(name)}]({url})" for name, url in links.items()),
        "",
        "## Where the time went",
        "",
        *_chart(durations(run.steps), usual(before)),
        "",
        "## What to do",
        "",
        *([f"- [ ] {markdown(one.title)}. {markdown(one.why)}" for one in items] or [_nothing(run)]),
    ]
    return "\n".join(lines)


def summary(run: Run, items: Sequence[ActionItem], page_url: str) -> str:
    """The same in three lines, for the channel."""
    todo = "; ".join(one.title for one in items) or _nothing(run)
    return (
        f"📋 Retrospective of {_named(run)}: {run.outcome} after {_minutes(run.took_s)}, "
        f"{_minutes(run.waited_s)} of it waiting for people.\n{todo}\n{page_url}"
    )


def _chart(spent: Mapping[str, float], medians: Mapping[str, float]) -> list[str]:
    longest = sorted(spent.items(), key=lambda one: -one[1])[:SLOWEST]
    if not longest:
        return ["No steps are recorded."]
    drawn = {kind: Bar(kind, seconds, _minutes(seconds), medians.get(kind)) for kind, seconds in longest}
    rows = [
        f"| {markdown(kind)} | {_minutes(seconds)} | {_minutes(medians[kind]) if kind in medians else '–'} |"
        for kind, seconds in longest
    ]
    picture = f"![Seconds of each step, beside what is usual]({data_uri(bars(drawn))})"
    return [picture, "", "| step | this release | usually |", "|---|---|---|", *rows]


def _errors(errors: Mapping[str, float | None]) -> str:
    known = [f"{service} {percent(ratio)}" for service, ratio in errors.items() if ratio is not None]
    unknown = [service for service, ratio in errors.items() if ratio is None]
    said = [", ".join(known)] if known else []
    said += [f"not known: {', '.join(unknown)}"] if unknown or not known else []
    return "; ".join(said).removesuffix(": ")


def _false_alarm(run: Run, before: Sequence[Run]) -> str:
    """That an earlier release of this very version was taken back though all users have it now; else empty."""
    alarms = [one for one in false_alarms([*before, run]) if one.version == run.version and run.is_promoted]
    if not alarms:
        return ""
    return f"{run.version} was taken back on {day(alarms[-1].ended_s)}, and all users have it now, unchanged"


def _named(run: Run) -> str:
    what = "hotfix" if run.flow is Flow.HOTFIX else "rollback" if "rollback" in run.flow else "release"
    return f"{what} {run.version or run.run_id[:8]} to {run.environment}".replace("rollback", "rollback of", 1)


def _nothing(run: Run) -> str:
    if run.is_promoted:
        return "A smooth release: no fault, no override, no wait. Thank you."
    return "Nothing that a rule would ask for."


def _minutes(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
