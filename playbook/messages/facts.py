"""What can be said: one value for each kind of reader. Each has a key, and is said once for it."""

from enum import StrEnum

from pydantic import AliasChoices, Field

from playbook.base import Frozen
from playbook.incident.decision_matrix import Severity
from playbook.incident.response import Call

SUMMARY_MAX = 1024
"""PagerDuty takes no longer summary."""


class Audience(StrEnum):
    """Who is spoken to; the environment file says which channel that is."""

    RELEASES = "releases"
    INCIDENTS = "incidents"
    PLATFORM = "platform"


class Message(Frozen):
    """One thing to say. ``key`` names the fact, so that it is said once however often it is tried."""

    key: str
    audience: Audience = Field(validation_alias=AliasChoices("audience", "room"))
    text: str
    mentions: tuple[str, ...] = Field((), description="chat ids of the people who are notified")


class Page(Frozen):
    """A page. ``key`` is PagerDuty's dedup key: the release's id, so that one incident is one incident."""

    key: str
    severity: Severity
    summary: str
    details: dict[str, str] = Field(default_factory=dict)
    calls: tuple[Call, ...] = Field((), description="whom it calls; empty: those who are called for its severity")


class Ticket(Frozen):
    """An incident ticket (playbook 4, scenario 1). ``key`` is written into its body, to find it again."""

    key: str
    title: str
    severity: Severity
    body: str
    labels: tuple[str, ...] = ("incident",)
    assignee: str = Field("", description="login of who follows it up; empty: no one")


class DeploymentState(StrEnum):
    """How a deployment stands, in GitHub's words."""

    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILURE = "failure"
    INACTIVE = "inactive"


class Recorded(Frozen):
    """How a release stands: what the code host shows as a deployment."""

    key: str
    release_id: str
    environment: str
    is_production: bool
    commit: str
    state: DeploymentState
    description: str
    url: str = ""


class TakenBack(Frozen):
    """A version was taken back from users who had it: what Sentry is told. ``back_on`` is what they have now; empty
    where that is no version."""

    key: str
    release_id: str
    version: str
    back_on: str = ""
    reason: str
    from_s: float = Field(description="unix seconds; when the first users had it")
    until_s: float
    url: str = ""


class Deployed(Frozen):
    """A version reached all users: what Sentry is told."""

    key: str
    version: str


class Resolution(Frozen):
    """An incident is over: the page with this key is resolved."""

    key: str
