"""Whom an incident needs (playbook 7, 10), and the errors that are new in it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen, Written
from playbook.incident.logs import LogLine
from playbook.text import LINE_MAX, clean, mask

ROLES = ("Incident Commander", "Comms Lead", "Engineering Lead")
SIGNATURES_MAX = 5
TRACEBACK = "Traceback (most recent call last)"
SIGNATURE_CHARS = 200

# The order matters: what is longest and most telling is taken out before its pieces are. Each pattern that repeats
# without a bound begins only where its characters begin (a negative look-behind), so no character is looked at twice.
_VARIABLE = (
    (re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "<email>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<hex>"),
    (re.compile(r"(?<![A-Za-z0-9_-])(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{16,}"), "<id>"),
    (re.compile(r"(?<![A-Za-z0-9_])(?=[a-f]*\d)[0-9a-f]{6,}\b"), "<hex>"),
    (re.compile(r"\d+(?:\.\d+)*"), "<n>"),
)


class Call(StrEnum):
    """What a person or a pager is called for: a severity, or a matter of security."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    SECURITY = "security"


class Contact(Written):
    """A person whom an incident may need (playbook 10)."""

    name: str = Field("", description="Of the person. It may change; the role stays.")
    slack: str = Field(min_length=1, description="Handle, for example @platform-lead.")
    slack_id: str = Field(
        "",
        pattern=r"^([UWS][A-Z0-9]{5,})?$",
        description="Slack's id of the person (U…) or user group (S…): with it they are notified, not only named.",
    )
    github: str = Field(
        "", pattern=r"^([A-Za-z0-9-]{1,39})?$", description="Login on the code host: tickets are assigned to it."
    )
    escalation: str = Field("", description="When they are called, for example Primary on-call.")
    called_for: tuple[Call, ...] = Field((), description="The incidents in which they are called and mentioned.")


class Signature(Frozen):
    """An error without what differs each time, and how often it was seen."""

    service: str
    text: str
    count: int

    def __str__(self) -> str:
        return f"{self.count} × {self.service}: {self.text}"


def signature(text: str) -> str:
    """``text`` without addresses, ids, times and numbers: what two lines of one error have in common."""
    lines = [line for line in clean(text, LINE_MAX).splitlines() if line.strip()]
    # A traceback says on its last line what went wrong; its first line is the same for all of them.
    is_traceback = any(line.startswith(TRACEBACK) for line in lines)
    first = mask((lines[-1] if is_traceback else lines[0]) if lines else "")
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


def roll_call(contacts: Mapping[str, Contact], *calls: Call) -> list[str]:
    """Which roles to fill, who is called for any of ``calls``, and the other contacts; one line each."""
    return ["Roles to fill: " + ", ".join(f"{role}: ?" for role in ROLES), *called(contacts, *calls)]


def called(contacts: Mapping[str, Contact], *calls: Call) -> list[str]:
    """Who is called for any of ``calls``, and the other contacts; one line each."""
    now = {role: one for role, one in contacts.items() if set(one.called_for) & set(calls)}
    others = {role: one for role, one in contacts.items() if role not in now}
    return [
        *(["Called:", *_lines(now)] if now else []),
        *(["Contacts:", *_lines(others)] if others else []),
    ]


def _lines(contacts: Mapping[str, Contact]) -> list[str]:
    return [
        " ".join(filter(None, (f"• {role}: {one.slack}", one.name and f"({one.name})", one.escalation)))
        for role, one in contacts.items()
    ]


BY_WORKFLOW = " (GitHub Actions)"
"""Ends the name of who asked, where a workflow did (.github/request.py): the name before it is their login."""


def assignee(contacts: Mapping[str, Contact], requested_by: str, *calls: Call) -> str:
    """The login of the person who follows a release up: who asked for it, else the first contact called for it."""
    if requested_by.endswith(BY_WORKFLOW):
        return requested_by.removesuffix(BY_WORKFLOW)
    asked = requested_by.strip().lower()
    own = (one.github for one in contacts.values() if asked and asked in (one.name.lower(), one.slack.lower()))
    called_for = (one.github for one in contacts.values() if set(one.called_for) & set(calls))
    return next(filter(None, [*own, *called_for]), "")
