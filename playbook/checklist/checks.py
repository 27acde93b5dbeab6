"""What outside systems answer to the pre-release checklist, and what is wrong with it."""

from collections.abc import Sequence

from playbook.base import Frozen

PASSED = frozenset({"success", "neutral", "skipped"})
"""The conclusions with which GitHub, too, lets a required check pass."""


class Check(Frozen):
    """One run of a CI check of a commit. ``conclusion`` is GitHub's, or ``pending`` while it runs."""

    name: str
    conclusion: str
    url: str = ""


class SecretState(Frozen):
    """One secret's newest version. ``expires_at_s`` is in unix seconds, None where it never expires."""

    name: str
    exists: bool
    is_enabled: bool
    expires_at_s: float | None = None


def ci_findings(checks: Sequence[Check], required: Sequence[str]) -> list[str]:
    """What is wrong with the required checks of a commit; empty when every run of each of them has passed.

    Two workflows may run a check of one name: one success does not outweigh a failure.
    """
    runs = {name: [check.conclusion for check in checks if check.name == name] for name in required}
    missing = [f"{name} has not run" for name, conclusions in runs.items() if not conclusions]
    bad = {name: [one for one in conclusions if one not in PASSED] for name, conclusions in runs.items()}
    return missing + [f"{name} is {', '.join(dict.fromkeys(found))}" for name, found in bad.items() if found]


def secret_problem(state: SecretState, until_s: float) -> str | None:
    """Why a secret cannot be relied on until then (unix seconds); None where it can."""
    if not state.exists:
        return f"{state.name} does not exist"
    if not state.is_enabled:
        return f"{state.name} has no enabled version"
    if state.expires_at_s is not None and state.expires_at_s < until_s:
        return f"{state.name} expires within two hours"
    return None
