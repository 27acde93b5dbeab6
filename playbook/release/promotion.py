"""A release that reached all users of a service."""

from pydantic import Field

from playbook.base import Frozen


class Promotion(Frozen):
    """One release that reached all users of a service."""

    release: str = Field(description="its version; empty where it is not recorded")
    revision: str
    digest: str = Field(description="sha256:…; empty where it is not recorded")
    promoted_at_s: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    is_return: bool = Field(False, description="users came back to it by a rollback")

    @property
    def name(self) -> str:
        """What people call it: the version, or the revision of a release that is older than our records."""
        return self.release or self.revision
