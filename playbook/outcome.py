"""How a run may end. The name is what people and automations see; the meaning stands beside it."""

from enum import StrEnum

from playbook.base import Frozen


class End(StrEnum):
    """Every end state that this project sets on purpose (design: the claim)."""

    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    PLANNED = "Planned"
    PASSED = "Passed"
    NOTHING_TO_RELEASE = "NothingToRelease"
    DUPLICATE = "Duplicate"
    UNFIT = "Unfit"
    ALARMED = "Alarmed"
    REVERTED = "Reverted"
    REFUSED = "Refused"
    FENCED = "Fenced"
    INTERRUPTED = "Interrupted"
    HALTED = "Halted"

    @property
    def is_success(self) -> bool:
        """Whether CI goes on with exit code 0."""
        return self in _SUCCESSES


_SUCCESSES = frozenset({End.PROMOTED, End.ROLLED_BACK, End.PLANNED, End.PASSED, End.NOTHING_TO_RELEASE, End.DUPLICATE})


class Outcome(Frozen):
    """What became of a run, in a word and a sentence."""

    end: End
    message: str
    release_id: str = ""
