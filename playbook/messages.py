"""What people read: Slack, PagerDuty, the ticket. Text from values, in the playbook's own words."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen


class Room(StrEnum):
    """Who is spoken to; the environment file says which channel that is."""

    RELEASES = "releases"
    INCIDENTS = "incidents"


class Severity(StrEnum):
    """The playbook's severities (section 8)."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class Message(Frozen):
    """One thing to say. ``key`` names the fact, so that it is said once however often it is tried."""

    key: str
    room: Room
    text: str


class Page(Frozen):
    """Wake somebody. ``key`` is PagerDuty's dedup key: the release's id, so that one incident is one incident."""

    key: str
    severity: Severity
    summary: str
    details: dict[str, str] = Field(default_factory=dict)


class Ticket(Frozen):
    """An incident ticket (playbook 4, scenario 1). ``key`` is written into its body, to find it again."""

    key: str
    title: str
    severity: Severity
    body: str
    labels: tuple[str, ...] = ("incident",)
