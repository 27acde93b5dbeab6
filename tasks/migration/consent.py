"""A yes or a no: the run pauses in the UI until a person has answered. Silence means no."""

from typing import Literal

from prefect.input import RunInput
from pydantic import Field

from playbook.base import Frozen
from tasks.gate import answered


class Agree(RunInput):
    """The form that the UI shows."""

    answer: Literal["no", "yes"] = Field("no", title="Your answer")
    approver: str = Field("", title="Who decides")
    reason: str = Field("", title="Why")


class Agreement(Frozen):
    """What a person answered, and who it was."""

    is_yes: bool
    approver: str
    reason: str

    def __str__(self) -> str:
        return f"{self.approver} said {'yes' if self.is_yes else 'no'}: {self.reason}"


async def ask_consent(question: str, within_s: float) -> Agreement:
    """What a person answers to ``question`` (markdown), or no when there is no answer within so many seconds.

    A yes without a name or a reason is no.
    """
    silence = {"answer": "no", "approver": "the deadline", "reason": f"no answer within {within_s:.0f} s"}
    given = await answered(Agree, question, within_s, silence)
    if given.answer == "yes" and not (given.approver.strip() and given.reason.strip()):
        return Agreement(is_yes=False, approver=given.approver or "unnamed", reason="a yes needs a name and a reason")
    return Agreement(is_yes=given.answer == "yes", approver=given.approver, reason=given.reason)
