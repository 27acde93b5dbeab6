"""What outside systems answer to the pre-release checklist."""

from playbook.base import Frozen

PASSED = frozenset({"success", "neutral", "skipped"})


class Check(Frozen):
    """One CI check of a commit. ``conclusion`` is GitHub's, or ``pending`` while it runs."""

    name: str
    conclusion: str
    url: str = ""

    @property
    def has_passed(self) -> bool:
        return self.conclusion in PASSED


class SecretState(Frozen):
    """One secret's newest version. ``expires_at_s`` is in unix seconds, None where it never expires."""

    name: str
    exists: bool
    is_enabled: bool
    expires_at_s: float | None = None
