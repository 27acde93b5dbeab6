"""The pre-release checklist of the playbook (section 2): what is looked at, and what stops a release."""

from enum import StrEnum

from playbook.base import Frozen


class Topic(StrEnum):
    """The lines of the checklist that can be looked up. The others are steps of the release itself.

    Staging and its smoke tests come first in every release, and the rollback plan is part of its plan.
    """

    CI = "All CI tests passing"
    SECRETS = "Secrets verified in Secret Manager"
    ON_CALL = "On-call engineer available"
    NOTES = "Release notes drafted"

    @property
    def blocks(self) -> bool:
        """Whether a release stops here unless a person gives a reason to go on."""
        return self is not Topic.NOTES


class Item(Frozen):
    """One line of the checklist after it was looked up. ``is_met`` is None where the answer could not be had."""

    topic: Topic
    is_met: bool | None
    seen: str

    def __str__(self) -> str:
        word = {True: "✅", False: "❌", None: "❔ CANNOT TELL:"}[self.is_met]
        return f"{word} {self.topic}: {self.seen}"


def open_items(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """The items that stop a release: those that are not met, and those whose answer could not be had."""
    return tuple(item for item in items if item.is_met is not True and item.topic.blocks)
