"""What a person may answer when the judge cannot decide, and what the answer must have."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen

DEADLINE = "the deadline"
"""The approver of a gate that no person has answered."""


class Choice(StrEnum):
    """Without an answer it is REVERT."""

    REVERT = "revert"
    PROMOTE = "promote"
    EXTEND = "extend"
    RAISE = "raise"


class Answer(Frozen):
    """A person's decision, with who and why: Prefect's open-source server knows one shared password."""

    choice: Choice
    approver: str
    reason: str
    minutes: int = Field(0, description="for EXTEND: by how much the bake becomes longer")
    percent: int = Field(0, description="for RAISE: the canary's new share")

    def problems(self, canary_percent: int) -> list[str]:
        """What is wrong with it, a line for each field; empty where it can be carried out."""
        found = []
        if not self.approver.strip():
            found.append("approver: say who decides")
        if not self.reason.strip():
            found.append("reason: say why")
        if self.choice is Choice.EXTEND and not 1 <= self.minutes <= 60:
            found.append(f"minutes: {self.minutes} is not between 1 and 60")
        if self.choice is Choice.RAISE and not canary_percent < self.percent <= 50:
            found.append(f"percent: {self.percent} is not above the canary's {canary_percent} and at most 50")
        return found

    def __str__(self) -> str:
        if self.approver == DEADLINE:
            return self.reason
        detail = {Choice.EXTEND: f" by {self.minutes} minutes", Choice.RAISE: f" to {self.percent} %"}
        return f"{self.approver} decided to {self.choice}{detail.get(self.choice, '')}: {self.reason}"
