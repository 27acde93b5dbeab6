"""The one page a release shows in the UI: how it stands, what was seen, what it does, the way back.

Markdown from values.
"""

from collections.abc import Sequence
from typing import Self

from playbook.analysis.chart import data_uri, draw
from playbook.analysis.explanation import odds, percent
from playbook.analysis.forecast import Forecast
from playbook.analysis.readings import SignalReading
from playbook.analysis.verdict import Verdict
from playbook.base import Frozen
from playbook.checklist.items import Item
from playbook.incident.decision_matrix import Severity
from playbook.lease.lease import Decision, Kind, Lease, Measured
from playbook.messages.escape import code_block, markdown
from playbook.messages.forecast import forecast_table
from playbook.messages.plan import canary_share, plan_table, rollback_plan
from playbook.messages.times import clock_s
from playbook.release.outcome import FlowResult, ReleaseOutcome


class Note(Frozen):
    """Something that happened, for the timeline."""

    at_s: float
    text: str


class Report(Frozen):
    """A release as far as it has come: its lease, and everything that was seen on the way."""

    environment: str
    lease: Lease
    checklist: tuple[Item, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[Note, ...] = ()
    outcome: FlowResult | None = None

    @property
    def key(self) -> str:
        """The artifact's key: one page for each release in each environment, written again and again."""
        return f"{self.environment}-{self.lease.release_id}"

    def deciding(self, decision: Decision, reason: str = "") -> Self:
        """The same release, going ``decision``'s way from here."""
        return self.model_copy(update={"lease": self.lease.decided(decision, reason)})

    def refused(self, reason: str) -> Self:
        """The same release, taken back because a step was refused: P1 where users had begun to be promoted."""
        lease = self.lease
        if lease.decision is Decision.PROMOTE:
            seen = lease.measured or Measured(severity=None, failed=0, requests=0)
            lease = lease.model_copy(update={"measured": seen.model_copy(update={"severity": Severity.P1})})
        return self.at(lease.decided(Decision.REVERT, reason))

    def at(self, lease: Lease) -> Self:
        """The same release with its lease as it is now."""
        return self.model_copy(update={"lease": lease})

    def judged(self, verdicts: tuple[Verdict, ...]) -> Self:
        """With the newest verdicts, the severest first; what must outlive this process of them is in the lease."""
        lease = self.lease.model_copy(update={"measured": measured(verdicts)})
        return self.model_copy(update={"verdicts": verdicts, "lease": lease})

    def noted(self, at_s: float, text: str) -> Self:
        """With one more line in the timeline."""
        return self.model_copy(update={"notes": (*self.notes, Note(at_s=at_s, text=text))})

    def markdown(self) -> str:
        """The whole page in words and tables: for a ticket, and for the form of a gate."""
        return page(self, pictures=False)

    def illustrated(self) -> str:
        """The same with a picture of each service's bake, as the Prefect UI shows it."""
        return page(self, pictures=True)


def measured(verdicts: Sequence[Verdict]) -> Measured:
    """The severity of the first of ``verdicts``, and every canary's requests and errors."""
    errors = [signal for verdict in verdicts for signal in verdict.signals if signal.name == "errors"]
    return Measured(
        severity=verdicts[0].severity if verdicts else None,
        failed=sum(signal.bad or 0 for signal in errors),
        requests=sum(signal.requests or 0 for signal in errors),
    )


def page(report: Report, *, pictures: bool) -> str:
    """The whole page, as far as the release has come; what a tired reader needs first stands first."""
    lease, outcome = report.lease, report.outcome
    blocks = [f"# {title(report)}: {outcome.end.value if outcome else lease.decision.value}"]
    if outcome:
        blocks.append(markdown(outcome.message))
    blocks.append(f"**Users:** {users(report)}")
    if report.verdicts:
        blocks += ["## Verdict", *(card(verdict, pictures=pictures) for verdict in report.verdicts), LEGEND]
    blocks += ["## What it changes", plan_table(lease)]
    if report.forecasts:
        blocks += ["## Forecast of the bake", forecast_table(report.forecasts)]
    blocks += ["## Roll back by hand", code_block(rollback_plan(lease))]
    if report.checklist:
        blocks += ["## Checklist", "\n".join(f"- {markdown(str(item))}" for item in report.checklist)]
    if report.notes:
        blocks += [
            "## Timeline (UTC)",
            "\n".join(f"- {clock_s(note.at_s)} {markdown(note.text)}" for note in report.notes),
        ]
    return "\n\n".join(blocks)


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


def users(report: Report) -> str:
    """Who is on what, in one sentence."""
    lease = report.lease
    match report.outcome.end if report.outcome else None:
        case ReleaseOutcome.PROMOTED:
            return "all are on the new revisions."
        case ReleaseOutcome.REVERTED | ReleaseOutcome.ROLLED_BACK:
            return "all are on the revisions from before."
        case None:
            return _under_way(lease)
        case _:
            return "see above."


def _under_way(lease: Lease) -> str:
    match lease.decision:
        case Decision.DEPLOY:
            return "all are on the revisions from before; the new ones are being started."
        case Decision.BAKE if lease.bake_start_s is None:
            return f"{canary_share(lease)} are being moved to the new revisions."
        case Decision.BAKE:
            return f"{canary_share(lease)} are on the new revisions."
        case Decision.PROMOTE:
            return "all are being moved to the new revisions."
        case Decision.REVERT:
            return "all are being moved back to the revisions from before."


QUERY_WIDTH = 66
LEGEND = (
    "*Evidence* is in odds against the canary, the highest since the bake's start; it decides where the last column "
    "says. The row *against stable* counts stable's own requests."
)


def card(verdict: Verdict, *, pictures: bool) -> str:
    """One service: the decision, its picture, every signal, and where the numbers came from."""
    blocks = [f"**{markdown(verdict.service)}: {verdict.action}.** {markdown(verdict.explanation)}"]
    errors = next((signal for signal in verdict.signals if signal.evidence_needed and signal.threshold), None)
    if pictures and verdict.trace and errors and errors.threshold and errors.evidence_needed:
        svg = draw(verdict.service, verdict.trace, errors.threshold, errors.evidence_needed)
        blocks.append(f"![{verdict.service}: errors and evidence over the bake]({data_uri(svg)})")
    blocks.append(signal_table(verdict.signals))
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


def signal_table(signals: Sequence[SignalReading]) -> str:
    """Every signal: what was measured, against which line, and how strong the evidence is."""
    rows = [
        f"| {one.name} | {_measured(one)} | {_line(one)} | {_odds(one.evidence)} | {_odds(one.evidence_needed)} |"
        for one in signals
    ]
    return "\n".join(("| signal | measured | line | evidence | decides at |", "|---|---|---|---|---|", *rows))


def _measured(signal: SignalReading) -> str:
    if signal.requests is not None:
        ratio = f" ({percent(signal.ratio)})" if signal.ratio is not None else ""
        return f"{signal.bad or 0:,} of {signal.requests:,}{ratio}"
    if signal.ratio is not None:
        return percent(signal.ratio)
    return "unknown" if signal.bad is None else f"{signal.bad:,}"


def _line(signal: SignalReading) -> str:
    if signal.threshold is None:
        return "–"
    return percent(signal.threshold) if signal.threshold else "none"


def _odds(value: float | None) -> str:
    return "–" if value is None else f"{odds(value)} : 1"
