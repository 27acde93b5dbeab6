"""The question of a held release, in ten lines: in the form, in the state of the paused run, and in the chat."""

from collections.abc import Sequence

from pydantic import Field

from playbook.analysis.verdict import Action, Verdict
from playbook.base import Frozen
from playbook.lease.lease import Lease
from playbook.messages.checklist import overridden
from playbook.messages.escape import BREAK, markdown
from playbook.messages.plan import canary_share
from playbook.messages.report import Report
from playbook.messages.times import clock, minutes
from playbook.messages.words import measured, one_name

REASONS_MAX = 3
"""Undecided services that are named; the page has all."""
NEEDED = "Fill in the first three fields: else it stays Paused."
"""Prefect's dialog marks no field as required (3.9.1). What its server refuses is said in a corner for four seconds."""
PERCENT_MAX = 50
"""The largest share that a person may give a canary."""


class Question(Frozen):
    """What is asked of a person, until when, what was measured, and what each answer does. Plain text."""

    asked: str
    until: str
    seen: tuple[str, ...] = Field(description="what could not be decided, and what was overridden")
    users: str
    promote: str
    revert: str
    at_fields: tuple[str, ...] = Field(description="what extend and raise do; in the form it stands at their fields")
    page_url: str = ""
    problem: str = Field("", description="why the answer before could not be carried out")

    @property
    def lines(self) -> tuple[str, ...]:
        """The question for a chat, and for the state of the paused run."""
        return (
            *filter(None, (self.problem, self.asked, self.until)),
            *self.seen,
            f"Users: {self.users}",
            f"promote: {self.promote}",
            f"revert: {self.revert}",
            *self.at_fields,
            *((f"All numbers: {self.page_url}",) if self.page_url else ()),
        )

    @property
    def form(self) -> str:
        """The question as Markdown above the form, so short that the required fields stand on the first screen."""
        url = self.page_url.replace("<", "%3C").replace(">", "%3E")
        link = f"[All numbers](<{url}>) · " if url.startswith(("https://", "http://")) else ""
        shown = (
            *((f"**{markdown(self.problem)}**",) if self.problem else ()),
            f"**{markdown(self.asked)}** {markdown(self.until)}",
            *map(_with_bold_name, self.seen),
            f"**Users:** {markdown(self.users)}",
            f"**promote:** {markdown(self.promote)} **revert:** {markdown(self.revert)}",
            f"{link}*{NEEDED}*",
        )
        return BREAK.join(shown)


def question(report: Report, page_url: str = "") -> Question:
    """What a person is asked about the canary of ``report``."""
    lease, again = report.lease, "; then it is judged again."
    at_fields = [f"extend: {canary_share(lease)} of users keep it for 1 to 60 minutes more{again}"]
    if lease.shares[-1] < PERCENT_MAX:
        share = f"{lease.shares[-1] + 1} to {PERCENT_MAX} % of users"
        at_fields.append(f"raise: {share} get it for {minutes(report.bake_s)}{again}")
    return Question(
        asked=f"Promote {lease.version} to all users of {report.environment}, or revert it?",
        until=f"Answer until {clock(lease.gate_deadline_s or 0)} UTC. No answer reverts it.",
        seen=(*_undecided(report.verdicts), *overridden(lease.overrides)),
        users=_now(lease),
        promote="all users get it.",
        revert=f"all users go back to {one_name(lease)}.",
        at_fields=tuple(at_fields),
        page_url=page_url,
    )


def _with_bold_name(text: str) -> str:
    """``service: what was seen`` with the service in bold."""
    name, colon, rest = text.partition(": ")
    return f"**{markdown(name)}:** {markdown(rest)}" if colon and " " not in name else markdown(text)


def _undecided(verdicts: Sequence[Verdict]) -> list[str]:
    """What could not be decided, with value and limit, one line for each service."""
    if verdicts and verdicts[0].action is Action.PROMOTE:
        healthy = [f"{one.service}: {one.explanation}" for one in verdicts[:REASONS_MAX]]
        return ["The policy asks for approval before all users move; the judge would promote.", *healthy]
    found = [one for one in verdicts if one.action is Action.INCONCLUSIVE]
    lines = [f"{one.service}: {measured(one)}" for one in found[:REASONS_MAX]]
    new = [f"{one.service}: new error: {one.new_errors[0]}" for one in found[:REASONS_MAX] if one.new_errors]
    lines += new[:1]
    others = ", ".join(one.service for one in found[REASONS_MAX:])
    return [*lines, f"Also undecided: {others}."] if others else lines


def _now(lease: Lease) -> str:
    seen = lease.measured
    counted = f"; {seen.failed:,} of {seen.requests:,} requests to it failed" if seen and seen.requests else ""
    return f"{canary_share(lease)} are on it{counted}."
