"""Who hears what (playbook 10): which channels get which kind of message, which pager is called for what, which contact
is named and mentioned. The environment file says it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from pydantic import Field

from playbook.base import Written
from playbook.incident.response import Call, Contact
from playbook.messages.facts import Audience, Message, Page


class MessageKind(StrEnum):
    """What a message is about: the part of its key that says so."""

    STARTING = "starting"
    COMPLETE = "complete"
    HOTFIX_STARTED = "hotfix-started"
    HOTFIX = "hotfix"
    WATCHED = "watched"
    ALARM = "watch"
    ROLLED_BACK = "rolled-back"
    GAVE_WAY = "gave-way"
    INTERRUPTED = "interrupted"
    INCIDENT = "war-room"
    ASKING = "asking"
    HELD = "holding"
    PAUSED = "paused"
    RESUMED = "resumed"
    NOTICED = "noticed"
    SCALED = "scaled"
    NOT_STARTED = "not-started"
    LATE = "late"
    APPROVAL = "approval"
    FLIGHT_CHECK = "flight-check"
    MITIGATED = "mitigate"
    STOOD_DOWN = "stood-down"
    RETROSPECTIVE = "retrospective"
    QUARTERLY_REVIEW = "quarterly-review"


class Routing(Written):
    """Exceptions to what each message says itself, and which pager is called for what."""

    channels: dict[MessageKind, tuple[Audience, ...]] = Field(
        default_factory=dict, description="kind of message -> the audiences that get it instead of its own"
    )
    pagers: dict[str, tuple[Call, ...]] = Field(
        default_factory=dict,
        description="name of a pager -> what it is called for. One that is not named is called for every severity.",
    )

    def copies(self, message: Message) -> tuple[Message, ...]:
        """``message`` once for each audience that gets it; each copy is a fact of its own."""
        kind = kind_of(message.key)
        audiences = self.channels.get(kind, ()) if kind else ()
        if not audiences:
            return (message,)
        return tuple(
            message.model_copy(update={"audience": one, "key": message.key if not n else f"{message.key}/{one}"})
            for n, one in enumerate(dict.fromkeys(audiences))
        )

    def calls(self, pager: str, page: Page) -> bool:
        """Whether the pager of that name is called for ``page``."""
        return self.is_called_for(pager, called_for(page))

    def is_called_for(self, pager: str, wanted: Sequence[Call]) -> bool:
        """Whether the pager of that name is called for any of ``wanted``."""
        if pager in self.pagers:
            return bool(set(wanted) & set(self.pagers[pager]))
        return any(one is not Call.SECURITY for one in wanted)


def kind_of(key: str) -> MessageKind | None:
    """What the message with this key is about; None for one that cannot be sent elsewhere."""
    return next((MessageKind(part) for part in key.split("/") if part in set(MessageKind)), None)


def called_for(page: Page) -> tuple[Call, ...]:
    """What the people are called for whom ``page`` wakes."""
    return page.calls or (Call(page.severity.value),)


def mentions(contacts: Mapping[str, Contact], calls: Sequence[Call]) -> tuple[str, ...]:
    """The chat ids of the contacts who are called for any of ``calls``."""
    return tuple(one.slack_id for one in contacts.values() if one.slack_id and set(one.called_for) & set(calls))
