"""How a run may end. The name is what people and automations see; the meaning stands beside it."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen


class ReleaseOutcome(StrEnum):
    """Every end state that this project sets on purpose (docs/architecture.md)."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    PLANNED = "Planned"
    PASSED = "Passed"
    NOTHING_TO_RELEASE = "NothingToRelease"
    DUPLICATE = "Duplicate"
    UNFIT = "Unfit"
    ALARMED = "Alarmed"
    SUPERSEDED = "Superseded"
    REVERTED = "Reverted"
    REFUSED = "Refused"
    FENCED = "Fenced"
    INTERRUPTED = "Interrupted"
    HALTED = "Halted"

    @property
    def is_success(self) -> bool:
        """Whether CI goes on with exit code 0."""
        return self in _SUCCESSES


_SUCCESSES = frozenset(
    {
        ReleaseOutcome.PROMOTED,
        ReleaseOutcome.ROLLED_BACK,
        ReleaseOutcome.PLANNED,
        ReleaseOutcome.PASSED,
        ReleaseOutcome.SUPERSEDED,
        ReleaseOutcome.NOTHING_TO_RELEASE,
        ReleaseOutcome.DUPLICATE,
    }
)


FOUND_NOTHING = frozenset({ReleaseOutcome.PASSED, ReleaseOutcome.SUPERSEDED})
"""How a run ends that only looks, and has nothing to tell."""
TAKEN_BACK = frozenset({ReleaseOutcome.REVERTED, ReleaseOutcome.INTERRUPTED})
"""How a release ends whose users went back before all of them had it."""
UNTOUCHED = "Nothing was touched."
"""Begins the message of a run that was refused before it did anything."""


class FlowResult(Frozen):
    """What became of a run, in a word and a sentence."""

    end: ReleaseOutcome
    message: str
    release_id: str = ""
    done_before: str = Field("", description="what had been done when it was refused; empty: nothing")
    took_back: str = Field("", description="the id of a release of another run that this run has taken back")
    is_request_wrong: bool = Field(False, description="refused because its form was filled in wrong")
    is_declined: bool = Field(False, description="a person said no to it, or none answered; people have been told so")

    @property
    def why(self) -> str:
        """The message for a text that says by itself that nothing was touched."""
        return self.message.removeprefix(UNTOUCHED).strip()
