"""What people read of a run that wrote nothing: refused, nothing to do, asked for twice, only planned, late, or waiting
for a person."""

from collections.abc import Sequence

from pydantic import Field

from playbook.base import Frozen
from playbook.checklist.items import Item, Override
from playbook.incident.decision_matrix import MATRIX, SEVERITY_OF, Event, Severity, Symptom
from playbook.incident.response import Call
from playbook.messages.checklist import chat_lines, overridden
from playbook.messages.escape import markdown
from playbook.messages.facts import SUMMARY_MAX, Audience, Message, Page
from playbook.messages.times import clock
from playbook.release.outcome import UNTOUCHED, FlowResult, ReleaseOutcome
from playbook.release.request import HotfixRequest, MitigateRequest, RollbackRequest
from playbook.release.version import ReleaseRequest

WITHOUT_A_WRITE = frozenset(
    {
        ReleaseOutcome.REFUSED,
        ReleaseOutcome.NOTHING_TO_RELEASE,
        ReleaseOutcome.DUPLICATE,
        ReleaseOutcome.PLANNED,
    }
)
"""The outcomes of a run that has written nothing to its environment."""


class Asked(Frozen):
    """What a run was asked for, as far as people are told: where they wait for it, and whether users wait, too."""

    what: str = Field(description="release, hotfix, rollback, ...")
    subject: str = Field(description="the version or the service")
    by: str = ""
    audience: Audience = Audience.RELEASES
    severity: Severity | None = Field(None, description="of the page where it is refused; None: no page")
    is_security: bool = False
    overrides: tuple[Override, ...] = ()


def asked_release(request: ReleaseRequest) -> Asked:
    """A release that did not start is no emergency: no one is paged."""
    return Asked(
        what="release",
        subject=f"Version: {request.version or 'the one that passed staging last'}",
        by=request.requested_by,
        overrides=request.overrides,
    )


def asked_hotfix(request: HotfixRequest) -> Asked:
    """A hotfix: its page has the severity of a vulnerability in the decision matrix."""
    return Asked(
        what="hotfix",
        subject=f"Version: {request.version} ({request.reason}, {request.incident})",
        by=request.requested_by or request.approver,
        severity=MATRIX[Symptom.VULNERABILITY].severity,
        is_security=True,
        overrides=request.overrides,
    )


def asked_rollback(request: RollbackRequest) -> Asked:
    """A rollback: without it users stay on the bad version, so a refusal pages."""
    to = request.to or "the release before"
    return Asked(
        what="rollback",
        subject=f"Back to: {to} ({request.symptom.value}: {request.reason})",
        by=request.requested_by,
        audience=Audience.INCIDENTS,
        severity=MATRIX[request.symptom].severity,
    )


def asked_mitigation(request: MitigateRequest) -> Asked:
    """A mitigation: a person waits for it, in an incident."""
    subject = f"Measure: {request.measure} {request.service} ({request.reason})"
    return Asked(what="mitigation", subject=subject, by=request.requested_by, audience=Audience.INCIDENTS)


def asked_migration(migration: str, reason: str, by: str) -> Asked:
    """A migration rollback: without it the data stays as it is, so a refusal pages."""
    return Asked(
        what="migration rollback",
        subject=f"Migration: {migration or 'the one under way'} ({reason})",
        by=by,
        audience=Audience.INCIDENTS,
        severity=SEVERITY_OF[Event.MIGRATION_ROLLBACK],
    )


def not_started(outcome: FlowResult, environment: str, asked: Asked, run_url: str) -> Message:
    """A run that people wait for ended before its first write: why, and that users have what they had."""
    is_plan = outcome.end is ReleaseOutcome.PLANNED
    what = f"{environment.upper()} {asked.what.upper()}"
    has_moved = outcome.done_before and f"{environment} was not touched" not in outcome.done_before
    stopped = "STOPPED" if has_moved else "DID NOT START"
    text = "\n".join(
        (
            f"📝 {what} PLANNED, NOT STARTED" if is_plan else f"⏹ {what} {stopped} ({outcome.end})",
            asked.subject,
            outcome.message if is_plan else f"Reason: {outcome.why}",
            *(() if has_moved else (f"Users: nothing changed for them in {environment}",)),
            *((f"Requested by: {asked.by}",) if asked.by else ()),
            *overridden(asked.overrides),
            f"Run: {run_url}",
        )
    )
    return Message(key=f"{run_of(run_url)}/not-started", audience=asked.audience, text=text)


def refused_page(name: str, outcome: FlowResult, problems: Sequence[str], form_url: str) -> str:
    """The page of a run that was refused before it had one: what was touched, what is wrong, line by line, and the form
    to start it again with, at ``form_url`` (empty: no link). Markdown."""
    lines = "\n".join(f"- {markdown(one)}" for one in problems or (outcome.why,))
    again = f"Correct it and start it again: [the form, filled in as it was](<{form_url}>)." if form_url else ""
    blocks = (f"## {markdown(name)}", f"**{markdown(outcome.done_before or UNTOUCHED)}**", lines, again)
    return "\n\n".join(filter(None, blocks))


def not_started_page(outcome: FlowResult, environment: str, asked: Asked, run_url: str) -> Page | None:
    """The page about a refused run that users wait for. None where they do not wait, or where the form only has to be
    corrected."""
    if asked.severity is None or outcome.end is not ReleaseOutcome.REFUSED or outcome.is_request_wrong:
        return None
    return Page(
        key=refused_key(run_url),
        severity=asked.severity,
        calls=(Call(asked.severity.value), *((Call.SECURITY,) if asked.is_security else ())),
        summary=f"{environment.capitalize()} {asked.what} was refused: {outcome.why}"[:SUMMARY_MAX],
        details={
            "asked for": asked.subject,
            "requested by": asked.by or "not known",
            **({"overridden": "; ".join(map(str, asked.overrides))} if asked.overrides else {}),
            "users": "they stay on what they have; nothing goes on by itself",
            "what to do": "remove the reason and start it again, or move users by hand (docs/operations.md)",
            "run": run_url,
        },
    )


def refused_key(run_url: str) -> str:
    """The key of the page about a refused run."""
    return f"{run_of(run_url)}/refused"


def flight_check_failed(environment: str, message: str, run_url: str) -> Message:
    """What would fail a release is told before one starts."""
    lines = (f"🛠 {environment.upper()} IS NOT READY FOR A RELEASE", message, f"Run: {run_url}")
    return Message(key=f"{run_of(run_url)}/flight-check", audience=Audience.PLATFORM, text="\n".join(lines))


def late(
    environment: str, version: str, late_s: float, overrides: Sequence[Override], until_s: float, run_url: str
) -> Message:
    """A release starts long after its time, and asks until then (unix seconds) whether it goes on."""
    text = "\n".join(
        (
            f"⏰ {environment.upper()} RELEASE IS LATE: it starts {late_s / 60:.0f} minutes after its time",
            f"Version: {version}",
            *overridden(overrides),
            f"Users: nothing changed for them in {environment}",
            _decide(until_s, run_url),
        )
    )
    return Message(key=f"{run_of(run_url)}/late", audience=Audience.RELEASES, text=text)


def approval(environment: str, version: str, items: Sequence[Item], until_s: float, run_url: str) -> Message:
    """A release waits for a person, until then (unix seconds), before production is touched."""
    text = "\n".join(
        (
            f"🖐 {environment.upper()} RELEASE WAITS FOR APPROVAL",
            f"Version: {version}",
            *chat_lines(items),
            f"Users: nothing changed for them in {environment}",
            _decide(until_s, run_url),
        )
    )
    return Message(key=f"{run_of(run_url)}/approval", audience=Audience.RELEASES, text=text)


def _decide(until_s: float, run_url: str) -> str:
    return f"Decide until {clock(until_s)} UTC whether it goes on; without an answer it ends Refused: {run_url}"


def run_of(url: str) -> str:
    """The id of the run that ``url`` leads to."""
    return url.rsplit("/", 1)[-1]
