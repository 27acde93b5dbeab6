"""The template of a service is ahead of what serves: a person changed its configuration while traffic was pinned."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen

NOT_SET = "not set"
LINES_MAX = 50


class DriftPolicy(StrEnum):
    """What a release does with a template that differs from what serves."""

    REFUSE = "refuse"
    TAKE = "take"
    LEAVE = "leave"


class Difference(Frozen):
    """One field of a template: what it says there, and what the serving revision has."""

    field: str
    template: str = NOT_SET
    serves: str = NOT_SET

    def __str__(self) -> str:
        return f"{self.field}: {self.template} (serves: {self.serves})"


class Drift(Frozen):
    """How the template of one service differs from what serves. The image is no part of it: a release replaces it."""

    service: str
    revision: str = Field(description="the revision that was made of the template")
    previews: tuple[str, ...] = Field((), description="other people's tags on that revision: it is a preview")
    differences: tuple[Difference, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each field that a release must decide about. A preview's own settings are left to it."""
        if self.previews:
            return ()
        more = len(self.differences) - LINES_MAX
        shown = tuple(map(str, self.differences[:LINES_MAX]))
        return (*shown, f"and {more} more") if more > 0 else shown

    def refusal(self) -> str:
        """Why a release does not start, and what to do."""
        return (
            f"{self.service}: its template ({self.revision}) is not what serves: {'; '.join(self.lines)}. Give users "
            'that revision or undo the change, or set drift = "take" or "leave" in [policy].'
        )
