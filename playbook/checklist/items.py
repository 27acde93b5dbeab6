"""The checks before a release (playbook 2, and what the policy adds): what is asked, and what stops a release."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from playbook.base import Frozen
from playbook.form import Form, Line, Person, sentence, too_many, who


class Topic(StrEnum):
    """What is asked before a release. The value is how a form, a workflow and an environment file name it."""

    CI = "ci"
    BUILD = "build"
    SCAN = "scan"
    STAGING = "staging"
    MIGRATIONS = "migrations"
    SECRETS = "secrets"
    LOAD_TEST = "load_test"
    NOTES = "notes"
    ON_CALL = "on_call"
    ROLLBACK_PLAN = "rollback_plan"
    FREEZE = "freeze"
    LINE = "stop_the_line"
    INCIDENTS = "incidents"
    ALERTS = "alerts"

    @property
    def words(self) -> str:
        """The line as people read it. Section 2 of the playbook has most of these words."""
        return TITLES[self]


TITLES = {
    Topic.CI: "All CI tests passing on main",
    Topic.BUILD: "Images built from this commit",
    Topic.SCAN: "Images scanned for vulnerabilities",
    Topic.STAGING: "Staging deployment successful, smoke tests passed",
    Topic.MIGRATIONS: "Database migrations tested in staging",
    Topic.SECRETS: "Secrets verified in Secret Manager",
    Topic.LOAD_TEST: "Load testing completed",
    Topic.NOTES: "Release notes drafted",
    Topic.ON_CALL: "On-call engineer available for the next 2 hours",
    Topic.ROLLBACK_PLAN: "Rollback plan reviewed",
    Topic.FREEZE: "No freeze window",
    Topic.LINE: "No emergency stop",
    Topic.INCIDENTS: "No open incident of a release",
    Topic.ALERTS: "No firing alert",
}
WINDOWS = (Topic.LINE, Topic.FREEZE, Topic.INCIDENTS, Topic.ALERTS)
"""Asked first, and again after staging: they may change while a release is under way."""
BEFORE_STAGING = (
    Topic.CI,
    Topic.BUILD,
    Topic.SCAN,
    Topic.SECRETS,
    Topic.LOAD_TEST,
    Topic.NOTES,
    Topic.ON_CALL,
    Topic.ROLLBACK_PLAN,
)
AFTER_STAGING = (Topic.STAGING, Topic.MIGRATIONS)
"""Asked once staging has the version, before anything is written to production."""


class Answer(StrEnum):
    """What became of a question."""

    PASS = "PASS"  # noqa: S105  # no password
    FAIL = "FAIL"
    CANNOT_TELL = "CANNOT TELL"
    ACKNOWLEDGED = "ACKNOWLEDGED"

    @property
    def sign(self) -> str:
        """The answer at a glance."""
        return {Answer.PASS: "✅", Answer.FAIL: "❌", Answer.CANNOT_TELL: "❔", Answer.ACKNOWLEDGED: "☑️"}[self]

    @property
    def mark(self) -> str:
        """The same without an emoji, as the phases and signals of a page have it: not every machine can draw one."""
        return {Answer.PASS: "✓", Answer.FAIL: "✗", Answer.CANNOT_TELL: "?", Answer.ACKNOWLEDGED: "✓"}[self]


class Seen(NamedTuple):
    """What a check has found: its answer, the fact behind it, and where that is seen."""

    answer: Answer
    fact: str
    url: str = ""


class Override(Form):
    """A person goes on although one item is open. It holds for that item only, and is told with the release."""

    item: Topic = Field(title="Item", description="The one item that this override is for.")
    by: Person = who("Who", "Required. The name of the person who decides.")
    reason: Line = sentence("Required. Why the release may go on. #releases reads it.", "Looked at by hand")

    def __str__(self) -> str:
        return f"{self.item.words}: overridden by {self.by}: {self.reason}"


def override_problems(overrides: Sequence[Override]) -> list[str]:
    """What is wrong with the overrides of a request, one line for each."""
    needed = (("by", "say who decides"), ("reason", "say why the release may go on"))
    found = [
        f"overrides: {one.item.value}: {name}: {why}"
        for one in overrides
        for name, why in needed
        if not getattr(one, name)
    ]
    found += [f"overrides: {one.item.value}: {problem}" for one in overrides for problem in too_many(one)]
    items = [one.item for one in overrides]
    twice = sorted({item.value for item in items if items.count(item) > 1})
    return found + [f"overrides: {item} is overridden twice" for item in twice]


class Item(Frozen):
    """One question after it was asked: its answer, the fact behind it and where that is seen."""

    topic: Topic
    answer: Answer
    seen: str
    url: str = ""
    blocks: bool = Field(True, description="whether the environment's policy stops the release where it is open")
    override: Override | None = None

    @property
    def is_met(self) -> bool:
        """Whether it passed, or a person or the policy has acknowledged it."""
        return self.answer in (Answer.PASS, Answer.ACKNOWLEDGED)

    @property
    def is_open(self) -> bool:
        """Whether it stops the release: an answer that could not be had stops it as a failure does."""
        return self.blocks and not self.is_met and self.override is None

    @property
    def override_in_use(self) -> Override | None:
        """A person's decision to go on although it is not met."""
        return None if self.is_met else self.override

    def __str__(self) -> str:
        word = "" if self.answer in (Answer.PASS, Answer.FAIL) else f" {self.answer}:"
        said = f"{self.answer.sign}{word} {self.topic.words}: {self.seen}"
        override = self.override_in_use
        return f"{said} (overridden by {override.by}: {override.reason})" if override else said


def open_items(items: Iterable[Item]) -> tuple[Item, ...]:
    """The items that stop a release: not met or not known, blocking by policy, and overridden by no one."""
    return tuple(item for item in items if item.is_open)


def overrides_in_use(items: Iterable[Item]) -> tuple[Override, ...]:
    """The overrides without which the release would have been stopped."""
    return tuple(item.override_in_use for item in items if item.blocks and item.override_in_use)


def refusal(items: Iterable[Item]) -> str:
    """Why a release is refused, naming each open item and what to do; empty where none is open."""
    still = open_items(items)
    if not still:
        return ""
    names = ", ".join(item.topic.value for item in still)
    return (
        f"Checklist: {'; '.join(map(str, still))}. Correct it, or override each item with a name and a reason: {names}."
    )
