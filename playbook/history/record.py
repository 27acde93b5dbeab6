"""What Prefect remembers of one run that released, or took back."""

import re
from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen
from playbook.release.outcome import ReleaseOutcome

VERSION = re.compile(r"\bv[0-9]{8}-(?:hotfix[0-9]+-)?[0-9a-f]{6,40}\b")


class Flow(StrEnum):
    """The flows that move users, as Prefect names them."""

    RELEASE = "release"
    HOTFIX = "hotfix"
    ROLLBACK = "rollback"
    MIGRATION_ROLLBACK = "migration-rollback"
    RECOVERY = "recovery"


class Step(Frozen):
    """One task run, or one phase: its name and when it ran, in unix seconds."""

    name: str
    started_s: float
    ended_s: float


class Run(Frozen):
    """One ended run. Times are unix seconds, durations seconds."""

    run_id: str
    flow: Flow
    environment: str
    outcome: str = Field(description="The name of its end state.")
    message: str = ""
    version: str = Field("", description="Empty where no version is known.")
    requested_by: str = ""
    overrides: tuple[str, ...] = Field((), description="Items of the checklist that were overridden.")
    asked_s: float = Field(description="When the run was asked for; a scheduled one: when it was due.")
    started_s: float
    ended_s: float
    worked_s: float = Field(description="How long it was Running; the rest of its time it waited for people.")
    steps: tuple[Step, ...] = ()

    @property
    def waited_s(self) -> float:
        """How long it waited for people."""
        return max(0.0, self.ended_s - self.started_s - self.worked_s)

    @property
    def took_s(self) -> float:
        """From the request to the end."""
        return self.ended_s - self.asked_s

    @property
    def is_promoted(self) -> bool:
        """Whether every user got the version. Where recovery finished the release, its run says so."""
        return self.outcome == ReleaseOutcome.PROMOTED

    @property
    def is_taken_back(self) -> bool:
        """Whether a release was taken back: by the canary's verdict, or after its promotion by a person."""
        return self.outcome in (ReleaseOutcome.REVERTED, ReleaseOutcome.ROLLED_BACK)


def false_alarms(runs: Sequence[Run]) -> list[Run]:
    """Runs that took a version back which all users have got later, unchanged."""
    moved = [run for run in moved_users(runs) if run.version]
    return [
        run
        for at, run in enumerate(moved)
        if run.outcome == ReleaseOutcome.REVERTED
        and any(later.is_promoted and later.version == run.version for later in moved[at + 1 :])
    ]


def moved_users(runs: Sequence[Run]) -> list[Run]:
    """Those that ended with users on a new version, or back on the old one, oldest first.

    A run that lost its process is not among them: the recovery that finished it is.
    """
    return sorted((run for run in runs if run.is_promoted or run.is_taken_back), key=lambda run: run.ended_s)
