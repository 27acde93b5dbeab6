"""A release that reached all users of a service."""

from typing import Annotated

from pydantic import Field, StringConstraints

from playbook.base import Frozen

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]*$", max_length=100)]
"""People read it at night, and it comes from an annotation: nothing else than a name may stand there."""


class Promotion(Frozen):
    """One release that reached all users of a service."""

    release: Name = Field(description="its version; empty where it is not recorded")
    revision: Name
    digest: Name = Field(description="sha256:…; empty where it is not recorded")
    promoted_at_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    is_return: bool = Field(False, description="users came back to it by a rollback")

    services: tuple[Name, ...] = Field((), description="all that the release was of; empty where that is not recorded")

    @property
    def name(self) -> str:
        """What people call it: the version, or the revision of a release that is older than our records."""
        return self.release or self.revision
