"""What outside systems answer to the checks before a release, and what is wrong with it."""

import base64
import difflib
import json
from collections.abc import Sequence

from pydantic import Field

from playbook.base import Frozen
from playbook.lease.record import Record
from playbook.messages.times import clock, day
from playbook.release.traffic import ServiceSnapshot

JWT_MAX = 8192
TIME_MAX_S = 253_402_300_800.0
"""The year 10,000: no calendar here goes further."""
PASSED = frozenset({"success", "neutral", "skipped"})
"""The conclusions with which GitHub, too, lets a required check pass."""


class Check(Frozen):
    """One run of a CI check of a commit, or one of its commit statuses.

    ``conclusion`` is GitHub's, or ``pending`` while it runs; ``output`` is the text that the run has left.
    """

    name: str
    conclusion: str
    url: str = ""
    output: str = Field("", repr=False)


class AlertRule(Frozen):
    """One alerting rule, as the metrics source last evaluated it. Empty where it does not say.

    ``state``: inactive, pending or firing. ``health``: ok, err, or unknown before the first evaluation.
    """

    name: str
    state: str = ""
    health: str = ""
    error: str = ""


class SecretState(Frozen):
    """One version of a secret. ``expires_at_s`` is in unix seconds, None where it never expires."""

    name: str
    exists: bool
    is_enabled: bool
    expires_at_s: float | None = None


class Shift(Frozen):
    """A person who is on call, from and until when (unix seconds); None is without an end."""

    person: str
    from_s: float | None = None
    until_s: float | None = None


class Comment(Frozen):
    """What a person wrote below an issue. ``is_member``: they belong to the repository. Times in unix seconds."""

    author: str
    text: str
    url: str
    at_s: float
    is_edited: bool = False
    is_member: bool = True


class Commit(Frozen):
    """One commit between two versions."""

    sha: str
    message: str
    author: str = ""


class Comparison(Frozen):
    """What the second of two commits has that the first has not. ``is_ancestor``: the second is part of the first."""

    commits: tuple[Commit, ...] = Field((), description="oldest first; not more than the code host shows")
    total: int = 0
    url: str = ""
    is_ancestor: bool = False


def alert_problem(name: str, rules: Sequence[AlertRule]) -> str:
    """Why it cannot be told from ``rules`` whether the alert ``name`` fires; empty where it can."""
    of_name = [rule for rule in rules if rule.name == name]
    if not of_name:
        near = difflib.get_close_matches(name, sorted({rule.name for rule in rules}), n=1, cutoff=0.5)
        or_else = f"; is it {near[0]}?" if near else ""
        return f"Prometheus has no alerting rule {name}{or_else}"
    broken = next((rule for rule in of_name if rule.health == "err"), None)
    if broken is not None:
        return f"the rule of {name} cannot be evaluated ({broken.error or 'Prometheus does not say why'})"
    if any(rule.health == "unknown" for rule in of_name):
        return f"the rule of {name} has not been evaluated yet; start again in a few minutes"
    return ""


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
        return f"{state.name} expires on {day(state.expires_at_s)} at {clock(state.expires_at_s)} UTC"
    return None


def jwt_ends_s(token: str) -> float | None:
    """When a JSON Web Token says that it ends (RFC 7519, ``exp``, unix seconds); None where it is none or does not say.

    Its signature is not checked: this only warns of an end.
    """
    parts = token.split(".")
    if len(parts) != 3 or len(token) > JWT_MAX:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        ends_s = claims["exp"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    is_time = isinstance(ends_s, int | float) and not isinstance(ends_s, bool) and 0 <= ends_s < TIME_MAX_S
    return float(ends_s) if is_time else None


def uncovered(shifts: Sequence[Shift], from_s: float, until_s: float) -> tuple[float, float] | None:
    """The first time between ``from_s`` and ``until_s`` in which no person is on call; None where there is none."""
    covered_s = from_s
    for shift in sorted(shifts, key=lambda one: one.from_s or 0.0):
        if shift.from_s is not None and shift.from_s > covered_s:
            break
        covered_s = max(covered_s, until_s if shift.until_s is None else shift.until_s)
    if covered_s >= until_s:
        return None
    later = [one.from_s for one in shifts if one.from_s is not None and one.from_s > covered_s]
    return covered_s, min([*later, until_s])


def staging_problem(snapshot: ServiceSnapshot, digest: str) -> str | None:
    """Why staging does not show that an image works; None where it serves it and its smoke tests passed there.

    A release is written down as good only after its smoke tests passed.
    """
    record = Record.read(snapshot)
    good = next((one for one in record.last_good if one.digest == digest), None)
    if good is None:
        return f"{snapshot.service}: no smoke tests of {digest[:19]}… have passed there"
    if snapshot.pinned.percent != {good.revision: 100}:
        return f"{snapshot.service}: it serves {snapshot.pinned}, not {good.revision}"
    return None
