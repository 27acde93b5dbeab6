"""What an incident leaves in writing (playbook 4, 7): who does what, new errors, the draft of the post-mortem."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from string import Template

from pydantic import Field

from playbook.base import Frozen
from playbook.incident.logs import LogLine
from playbook.lease.lease import Kind
from playbook.messages.chat import Channel, Message, impact, severity, stable_names
from playbook.messages.report import Report

ROLES = ("Incident Commander", "Comms Lead", "Engineering Lead")
SIGNATURES_MAX = 5
SIGNATURE_CHARS = 200

# The order matters: what is longest and most telling is taken out before its pieces are.
_VARIABLE = (
    (re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b"), "<email>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"\b(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}\b"), "<id>"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{6,}\b"), "<hex>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<n>"),
)


class Contact(Frozen):
    """Somebody whom an incident may need (playbook 10)."""

    name: str = Field("", description="The person's; it may change, the role stays.")
    slack: str = Field(description="Handle, for example @platform-lead.")
    escalation: str = Field("", description="When they are called, for example Primary on-call.")


class Signature(Frozen):
    """An error without what differs each time, and how often it was seen."""

    service: str
    text: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} × {self.service}: {self.text}"


def signature(text: str) -> str:
    """``text`` without addresses, ids, times and numbers: what two lines of one error have in common."""
    first = next((line for line in text.strip().splitlines() if line.strip()), "")
    for pattern, word in _VARIABLE:
        first = pattern.sub(word, first)
    return " ".join(first.split())[:SIGNATURE_CHARS]


def new_signatures(service: str, canary: Sequence[LogLine], stable: Sequence[LogLine]) -> tuple[Signature, ...]:
    """The errors of the canary that stable does not have, the most frequent first, `SIGNATURES_MAX` at most."""
    known = {signature(line.text) for line in stable}
    seen = Counter(signature(line.text) for line in canary)
    new = [(count, text) for text, count in seen.items() if text and text not in known]
    new.sort(key=lambda one: (-one[0], one[1]))
    return tuple(Signature(service=service, text=text, count=count) for count, text in new[:SIGNATURES_MAX])


def war_room(report: Report, contacts: Mapping[str, Contact], run_url: str) -> Message:
    """Playbook 7: `#incident-response` reads what happened, that users are safe, which roles to fill, whom to call."""
    lease = report.lease
    text = "\n".join(
        (
            f"🚨 {severity(report)} {report.environment.upper()} INCIDENT: {lease.version} was taken back",
            f"Reason: {lease.reason}",
            f"Users: back on {stable_names(lease)}. Impact: {impact(report)}",
            *roll_call(contacts),
            f"Run: {run_url}",
        )
    )
    return Message(key=f"{lease.release_id}/war-room", channel=Channel.INCIDENTS, text=text)


def roll_call(contacts: Mapping[str, Contact]) -> list[str]:
    """Which roles to fill, and whom to call; one line each."""
    people = [
        " ".join(filter(None, (f"• {role}: {one.slack}", one.name and f"({one.name})", one.escalation)))
        for role, one in contacts.items()
    ]
    return ["Roles to fill: " + ", ".join(f"{role}: ?" for role in ROLES), *(["Contacts:", *people] if people else [])]


def findings(report: Report, signatures: Sequence[Signature], links: Mapping[str, str]) -> str:
    """The part of the ticket that helps to find the cause: errors that are new, and where to look."""
    errors = "\n".join(f"- {one}" for one in signatures) or "- none were found in the logs; they may come late"
    where = "\n".join(f"- {name}: {url}" for name, url in links.items())
    names = " and ".join(map(report.lease.suspect, report.lease.rollouts))
    return f"## Errors of {names} that stable does not have\n\n{errors}\n\n## Links\n\n{where}"


def log_commands(report: Report) -> dict[str, str]:
    """Playbook 4, scenario 1: how to read each new revision's errors, by hand."""
    return {
        f"logs of {rollout.service}": "`gcloud logging read 'resource.type=cloud_run_revision AND "
        f"resource.labels.revision_name={report.lease.suspect(rollout)} AND severity>=ERROR' --limit=100`"
        for rollout in report.lease.rollouts
    }


def postmortem(template: str, report: Report, signatures: Sequence[Signature]) -> str:
    """The draft of the post-mortem: everything that is known by now is in its place.

    ``template`` has the names of `string.Template`; one it does not know stays as it is.
    """
    lease = report.lease
    trigger = {
        Kind.ROLLBACK: f"reported by {lease.requested_by or 'somebody'}",
        Kind.HOTFIX: "smoke tests and metrics of the first minutes",
        Kind.RELEASE: "automatic, in the canary phase",
    }[lease.kind]
    return Template(template).safe_substitute(
        title=f"{report.environment.capitalize()}: {lease.version} was taken back",
        date=day(report.notes[0].at_s) if report.notes else "",
        severity=severity(report).value,
        version=lease.version,
        services=", ".join(lease.services),
        stable=stable_names(lease),
        reason=lease.reason,
        detection=trigger,
        impact=impact(report),
        timeline="\n".join(f"| {clock_s(note.at_s)} | {note.text} |" for note in report.notes),
        errors="\n".join(f"- {one}" for one in signatures) or "- none were found in the logs",
    )


def day(at_s: float) -> str:
    """``2025-11-16`` for a unix time, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d")


def clock_s(at_s: float) -> str:
    """``14:00:07`` for a unix time, in UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")
