"""What a person may answer when the judge cannot decide, and what the answer must have."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Written
from playbook.form import Line, Person, too_many

DEADLINE = "the deadline"
"""The approver of a gate that no person has answered."""
JUDGE = "the judge"
"""The approver of a gate that evidence against the canary has ended."""


class Choice(StrEnum):
    """Without an answer it is REVERT."""

    REVERT = "revert"
    PROMOTE = "promote"
    EXTEND = "extend"
    RAISE = "raise"


def names_a_person(text: str) -> bool:
    """Whether ``text`` may be the name of who goes on: it is not empty, nor one of the engine's own words for no
    answer."""
    return bool(text) and text.lower() not in (DEADLINE, JUDGE)


class Consent(Written):
    """A person's answer before anything is written, with who."""

    goes_on: bool
    by: Person
    reason: Line = ""

    def problems(self) -> list[str]:
        """What is wrong with it; empty where it can be carried out. Silence does not go on."""
        is_named = names_a_person(self.by) or (not self.goes_on and bool(self.by))
        return ([] if is_named else ["by: say who decides"]) + too_many(self)


class Answer(Written):
    """A person's decision, with who and why: Prefect's open-source server knows one shared password."""

    choice: Choice
    approver: Person
    reason: Line
    minutes: int = Field(0, description="for EXTEND: by how much the bake becomes longer")
    percent: int = Field(0, description="for RAISE: the canary's new share")

    def problems(self, canary_percent: int) -> list[str]:
        """What is wrong with it, a line for each field; empty where it can be carried out."""
        found = []
        if not self.approver or (self.choice is not Choice.REVERT and not names_a_person(self.approver)):
            found.append("approver: say who decides")
        if not self.reason:
            found.append("reason: say why")
        if self.choice is Choice.EXTEND and not 1 <= self.minutes <= 60:
            found.append(f"minutes: {self.minutes} is not between 1 and 60")
        if self.choice is Choice.RAISE and not canary_percent < self.percent <= 50:
            found.append(f"percent: {self.percent} is not above the canary's {canary_percent} and at most 50")
        return found + too_many(self)

    def __str__(self) -> str:
        if self.approver == DEADLINE:
            return self.reason
        detail = {Choice.EXTEND: f" by {self.minutes} minutes", Choice.RAISE: f" to {self.percent} %"}
        return f"{self.approver} decided to {self.choice}{detail.get(self.choice, '')}: {self.reason}"
