"""The page of a release in the Prefect UI: how it stands, what was done and seen, the way back. Markdown."""

from collections.abc import Mapping, Sequence

from playbook.analysis.chart import curves, data_uri, draw
from playbook.analysis.readings import SignalReading
from playbook.analysis.verdict import Action, Verdict
from playbook.lease.lease import Decision, HotfixLease, Kind, Lease, RollbackLease
from playbook.messages import signals
from playbook.messages.checklist import table
from playbook.messages.escape import BREAK, code_block, markdown
from playbook.messages.forecast import forecast_table
from playbook.messages.phases import phases, strip
from playbook.messages.plan import canary_share, plan_table, rollback_plan
from playbook.messages.report import Note, Report
from playbook.messages.times import clock_s
from playbook.messages.words import impact, one_name
from playbook.release.outcome import ReleaseOutcome

QUERY_WIDTH = 66


def page(report: Report, *, pictures: bool = False) -> str:
    """The whole page, as far as the release has come; what a tired reader needs first stands first.

    ``pictures``: with a picture of each bake, which the Prefect UI shows; a ticket on GitHub would show its bytes.
    """
    lease = report.lease
    end = report.outcome.end if report.outcome else None
    strip_of = phases(lease, end, has_staging=report.has_staging, bake_s=report.bake_s)
    told = sentence(report)
    first = [told, facts(report), *([timeline(report.notes, told)] if report.notes else [])]
    blocks = [f"## {headline(report)}", strip(strip_of), BREAK.join(first)]
    if report.verdicts:
        has_canary = lease.kind is not Kind.HOTFIX
        blocks += ["### Signals", signals.table(report.verdicts, has_canary=has_canary, is_over=end is not None)]
        if pictures:
            blocks += [picture for verdict in report.verdicts if (picture := _picture(verdict))]
    if len(report.notes) > NEWEST or any(len(note.text) > STEP_MAX for note in report.notes):
        blocks += ["### Timeline", every_note(report.notes)]
    blocks += ["### What it changes", plan_table(lease)]
    if report.forecasts:
        blocks += ["### Forecast of the bake", forecast_table(report.forecasts)]
    blocks += ["### Roll back by hand", code_block(rollback_plan(lease))]
    if report.checklist:
        blocks += ["### Checklist", table(report.checklist)]
    if report.verdicts:
        blocks += ["### Evidence and queries", LEGEND, *map(evidence, report.verdicts)]
    return "\n\n".join(blocks)


def headline(report: Report) -> str:
    """What this is, and how it stands, in one line."""
    return f"{title(report)}: {_standing(report)}"


def title(report: Report) -> str:
    """What this is, in the words of the playbook."""
    lease, where = report.lease, report.environment
    match lease.kind:
        case Kind.ROLLBACK:
            return f"Rollback of {lease.version} in {where}"
        case Kind.HOTFIX:
            return f"Hotfix {lease.version} to {where}"
        case _:
            return f"{lease.version} to {where}"


def _standing(report: Report) -> str:
    if report.outcome:
        return report.outcome.end.value
    lease = report.lease
    if lease.decision is Decision.BAKE and lease.gate_deadline_s is not None:
        return "held"
    return {
        Decision.DEPLOY: "starting",
        Decision.BAKE: "baking",
        Decision.PROMOTE: "promoting",
        Decision.REVERT: "going back",
    }[lease.decision]


def sentence(report: Report) -> str:
    """The outcome, or what happens now, in one plain sentence, and why."""
    lease = report.lease
    if _is_promoted(report) and report.outcome:
        return f"**Users:** {markdown(report.outcome.message)}"
    if report.outcome:
        return f"**Users: {users(report)}** {markdown(report.outcome.message)}"
    why = markdown(lease.reason) if lease.reason else ""
    return f"**Users: {users(report)}** {why}".strip()


def users(report: Report) -> str:
    """Who is on what, in one sentence."""
    lease = report.lease
    match report.outcome.end if report.outcome else None:
        case ReleaseOutcome.PROMOTED:
            return "all are on the new revisions."
        case ReleaseOutcome.REVERTED | ReleaseOutcome.ROLLED_BACK:
            return f"all are back on {one_name(lease)}."
        case ReleaseOutcome.PLANNED:
            return "nothing changes for them."
        case None:
            return _under_way(lease)
        case _:
            return "see the next sentence."


def _under_way(lease: Lease) -> str:
    match lease.decision:
        case Decision.DEPLOY:
            return "all are on the revisions from before; the new ones are being started."
        case Decision.BAKE if lease.bake_start_s is None:
            return f"{canary_share(lease)} are being moved to the new revisions."
        case Decision.BAKE:
            return f"{canary_share(lease)} have been on the new revisions since {clock_s(lease.bake_start_s or 0)}."
        case Decision.PROMOTE:
            return "all are being moved to the new revisions."
        case Decision.REVERT:
            return "all are being moved back to the revisions from before."


def facts(report: Report) -> str:
    """Who was affected, who asked and why, who approved, and where to look further."""
    lease = report.lease
    asked = markdown(lease.requested_by) or "not said"
    rows: list[tuple[str, str]] = [("Affected", markdown(_affected(report)))]
    match lease:
        case HotfixLease():
            fix = lease.request
            rows += [
                ("Asked by", f"{asked}. **Approved by** {markdown(fix.approver)}"),
                ("Fixes", f"{markdown(fix.incident)}: {markdown(fix.reason)}"),
            ]
        case RollbackLease():
            rows += [("Asked by", asked), ("Why", f"{lease.request.symptom.value}: {markdown(lease.request.reason)}")]
        case _:
            rows += [("Asked by", asked)]
            rows += [("Changes", markdown(report.changes))] if report.changes else []
            rows += [("Decision", markdown(lease.reason))] if _is_promoted(report) and lease.reason else []
    rows += [("Overridden", markdown(str(override))) for override in lease.overrides]
    if report.links:
        rows.append(("Links", _links(report.links)))
    return BREAK.join(f"**{name}:** {value}" for name, value in rows)


def _is_promoted(report: Report) -> bool:
    return report.outcome is not None and report.outcome.end is ReleaseOutcome.PROMOTED


def _affected(report: Report) -> str:
    """Whom it reached so far. A release that went well has harmed no user: its requests are counted below."""
    lease = report.lease
    if report.outcome is None and lease.decision is Decision.DEPLOY:
        return "no user so far"
    if _is_promoted(report):
        seen = lease.measured
        if seen and seen.requests:
            return f"{seen.failed:,} of {seen.requests:,} measured requests failed"
        return "all users have it"
    return impact(report)


def _links(links: Mapping[str, str]) -> str:
    return " · ".join(
        f"[{markdown(name)}](<{url.replace('>', '%3E').replace('<', '%3C')}>)" for name, url in links.items()
    )


STEP_MAX = 60
"""Characters of one step there."""
NEWEST = 8
"""Lines of the timeline on the first screen, which is 20 lines high in a window of 1024 by 768."""


def timeline(notes: Sequence[Note], told: str = "") -> str:
    """What was done at which time (UTC), the oldest first: the newest of it, in one paragraph.

    A reason that ``told`` has said already is left out, and of a long step all but its beginning.
    """
    shown = notes[-NEWEST:]
    steps = [f"**{clock_s(note.at_s)}** {markdown(_short(note.text, told))}" for note in shown]
    return "**Timeline:** " + " · ".join([*(["…"] if len(notes) > len(shown) else []), *steps])


def _short(text: str, told: str) -> str:
    head, _, reason = text.partition(". ")
    if reason and markdown(reason).rstrip(".") in told:
        return head
    return text if len(text) <= STEP_MAX else f"{head.partition('; ')[0][:STEP_MAX].rstrip()} …"


def every_note(notes: Sequence[Note]) -> str:
    """The whole timeline, a line for each step."""
    return BREAK.join(f"{clock_s(note.at_s)} {markdown(note.text)}" for note in notes)


LEGEND = (
    "Evidence is given as odds that the canary is bad: the highest since the bake began. The judge decides when they "
    "reach the last column. *against stable* counts stable's own requests, *against healthy* those of the last minutes."
)


def _picture(verdict: Verdict) -> str:
    """The bake of one service, as an image in Markdown; empty where it cannot be drawn."""
    errors = _signal(verdict, "requests")
    slow = _signal(verdict, "latency")
    if not verdict.trace or errors is None or slow is None or not errors.threshold or not slow.threshold:
        return ""
    panels = curves(verdict.trace, errors.threshold, slow.threshold, f"requests {slow.name}")
    svg = draw(verdict.service, verdict.trace, panels)
    return f"![{verdict.service}: canary and stable over the bake]({data_uri(svg)})"


def _signal(verdict: Verdict, slot: str) -> SignalReading | None:
    """The first signal of this slot."""
    return next((one for one in verdict.signals if one.slot == slot), None)


def said(verdict: Verdict, kind: Kind) -> str:
    """A verdict in a word, as it is meant in this kind of release."""
    if kind is Kind.HOTFIX and verdict.action is Action.INCONCLUSIVE:
        return "nothing against it, and not enough to rule everything out"
    return {
        Action.ROLLBACK: "bad",
        Action.SCALE: "too slow",
        Action.INCONCLUSIVE: "undecided",
        Action.CONTINUE: "not decided yet",
        Action.PROMOTE: "healthy",
    }[verdict.action]


def verdict_line(verdict: Verdict, kind: Kind) -> str:
    """A verdict for the timeline: of which service, in a word, and why."""
    return f"{verdict.service}: {said(verdict, kind)}. {verdict.explanation}"


def evidence(verdict: Verdict) -> str:
    """One service: the sentence, the tests behind it, and the queries that gave the numbers."""
    blocks = [
        f"**{markdown(verdict.service)}.** {markdown(verdict.explanation)}",
        signals.evidence_table(verdict.signals),
    ]
    if verdict.new_errors:
        lines = "\n".join(f"- {markdown(one)}" for one in verdict.new_errors)
        blocks.append(f"Errors that stable does not have:\n\n{lines}")
    queries = list(dict.fromkeys(signal.query for signal in verdict.signals if signal.query))
    if queries:
        blocks.append(code_block("\n".join(map(folded, queries))))
    return "\n\n".join(blocks)


def folded(query: str) -> str:
    """The same PromQL in lines of at most `QUERY_WIDTH`, broken after commas: the page cuts what is longer off."""
    lines = [""]
    for piece in query.replace(",", ",\0").split("\0"):
        if len(lines[-1]) + len(piece) > QUERY_WIDTH and lines[-1].strip():
            lines.append("  ")
        lines[-1] += piece
    return "\n".join(lines)
