"""The one page a release shows in the UI: what will be done, the way back, what was seen, how it ended.

Markdown from values.
"""

from collections.abc import Sequence
from typing import Self

from playbook.base import Frozen
from playbook.checklist import Item
from playbook.claim import Claim, Decision
from playbook.outcome import Outcome
from playbook.verdict import Verdict


class Note(Frozen):
    """Something that happened, for the timeline."""

    at_s: float
    text: str


class Report(Frozen):
    """A release as far as it has come: its claim, and everything that was seen on the way."""

    environment: str
    claim: Claim
    checklist: tuple[Item, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[Note, ...] = ()
    outcome: Outcome | None = None

    @property
    def key(self) -> str:
        """The artifact's key: one page for each release in each environment, written again and again."""
        return f"{self.environment}-{self.claim.release_id}"

    def deciding(self, decision: Decision, reason: str = "") -> Self:
        """The same release, going ``decision``'s way from here."""
        return self.model_copy(update={"claim": self.claim.decided(decision, reason)})

    def at(self, claim: Claim) -> Self:
        """The same release with its claim as it is now."""
        return self.model_copy(update={"claim": claim})

    def judged(self, verdicts: tuple[Verdict, ...]) -> Self:
        """With the newest verdicts, the severest first."""
        return self.model_copy(update={"verdicts": verdicts})

    def noted(self, at_s: float, text: str) -> Self:
        """With one more line in the timeline."""
        return self.model_copy(update={"notes": (*self.notes, Note(at_s=at_s, text=text))})

    def markdown(self) -> str:
        """The whole page."""
        return page(self)


def plan_table(claim: Claim) -> str:
    """What each service is now, and what it is to become."""
    rows = [
        f"| {part.service} | {part.stable} | {part.canary} | `{part.image.rsplit('@', 1)[-1][:19]}…` |"
        for part in claim.parts
    ]
    return "\n".join(("| service | serves now | new revision | image |", "|---|---|---|---|", *rows))


def rollback_plan(claim: Claim) -> str:
    """How this release would be taken back, by hand if everything else is down."""
    return "\n".join(
        f"gcloud run services update-traffic {part.service} --to-revisions="
        + ",".join(f"{revision}={share}" for revision, share in part.stable.percent.items())
        for part in claim.parts
    )


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Every signal of every service: what was measured, against which line, and how strong the evidence is."""
    rows = [
        f"| {verdict.service} | {signal.name} | {signal.requests} | {signal.bad} | {_ratio(signal.ratio)} | "
        f"{_ratio(signal.threshold)} | {_ratio(signal.evidence)} |"
        for verdict in verdicts
        for signal in verdict.signals
    ]
    header = ("| service | signal | requests | bad | measured | line | evidence |", "|---|---|---|---|---|---|---|")
    return "\n".join((*header, *rows))


def page(report: Report) -> str:
    """The whole page, as far as the release has come."""
    claim, outcome = report.claim, report.outcome
    parts = [f"# {claim.version} to {report.environment}: {outcome.end.value if outcome else claim.decision.value}"]
    if outcome:
        parts.append(outcome.message)
    parts += ["## Plan", plan_table(claim), "## The way back", f"```\n{rollback_plan(claim)}\n```"]
    if report.checklist:
        parts += ["## Checklist", "\n".join(f"- {item}" for item in report.checklist)]
    if report.verdicts:
        parts.append("## Verdict")
        parts += [f"**{verdict.service}: {verdict.action}.** {verdict.explanation}" for verdict in report.verdicts]
        parts.append(verdict_table(report.verdicts))
    if report.notes:
        began_s = report.notes[0].at_s
        parts += ["## Timeline", "\n".join(f"- +{note.at_s - began_s:.1f} s {note.text}" for note in report.notes)]
    return "\n\n".join(parts)


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
