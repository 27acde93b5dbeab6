"""The phases of a release and how far it has come: the strip on top of its page."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from playbook.lease.lease import Decision, Kind, Lease
from playbook.messages.plan import canary_share
from playbook.messages.times import minutes
from playbook.release.outcome import ReleaseOutcome


class Stage(StrEnum):
    """Where a phase stands. The sign is readable without colour."""

    DONE = "✓"
    NOW = "▶"
    FAILED = "✗"
    NEXT = "○"


class Phase(NamedTuple):
    """One phase, as people call it."""

    name: str
    stage: Stage


BACK = frozenset({ReleaseOutcome.REVERTED, ReleaseOutcome.ROLLED_BACK})
"""Every user is back, and all is well there."""


def phases(
    lease: Lease, end: ReleaseOutcome | None = None, *, has_staging: bool = False, bake_s: float = 0.0
) -> tuple[Phase, ...]:
    """Every phase of the release in order. ``end`` is its outcome, once there is one; ``bake_s`` 0: no canary phase."""
    if lease.kind in (Kind.ROLLBACK, Kind.MIGRATION):
        return (Phase("checks", Stage.DONE), _back(end, "users back"))
    names = _names(lease, has_staging, bake_s)
    at = names.index(_reached(lease, names))
    if lease.decision is Decision.REVERT:
        forward = _staged(names, at, Stage.FAILED)
        return (*forward, _back(end, "revert"))
    if end is ReleaseOutcome.PROMOTED:
        return _staged(names, len(names), Stage.DONE)
    return _staged(names, at, Stage.NOW if end is None else Stage.FAILED)


def before_the_lease(steps: Iterable[str], at: int, *, failed: bool) -> tuple[Phase, ...]:
    """The phases of a release that holds nothing yet: it is at the step with this index, or ended there."""
    return _staged(list(steps), at, Stage.FAILED if failed else Stage.NOW)


def forward_names(kind: Kind, share: str, *, has_staging: bool, bake_s: float) -> list[str]:
    """The phases of a release on its way forward. ``share``: of the canary, as people read it."""
    staging = ["staging"] if has_staging else []
    if kind is Kind.HOTFIX:
        return ["checks", *staging, "deploy at 0 %", "promote", "first minutes"]
    canary = [f"canary {share}", f"bake {minutes(bake_s)}"] if bake_s else []
    return ["checks", *staging, "deploy at 0 %", *canary, "promote"]


def strip(found: Iterable[Phase]) -> str:
    """The phases in one line of Markdown; the one that matters now is bold."""
    marked = (Stage.NOW, Stage.FAILED)
    return " → ".join(
        f"**{one.stage} {one.name}**" if one.stage in marked else f"{one.stage} {one.name}" for one in found
    )


def _names(lease: Lease, has_staging: bool, bake_s: float) -> list[str]:
    whole_s = bake_s + sum(lease.extensions_s) if bake_s else 0.0
    return forward_names(lease.kind, canary_share(lease), has_staging=has_staging, bake_s=whole_s)


def _reached(lease: Lease, names: list[str]) -> str:
    """The phase that the release has come to, also where it goes back from there."""
    decision = lease.came_to or lease.decision
    baked = lease.bake_start_s is not None
    wanted = {
        Decision.DEPLOY: "deploy at 0 %",
        Decision.BAKE: "bake" if baked else "canary",
        Decision.PROMOTE: "first minutes" if baked and lease.kind is Kind.HOTFIX else "promote",
        Decision.REVERT: "deploy at 0 %",
    }[decision]
    return next((name for name in names if name.startswith(wanted)), names[-1])


def _staged(names: list[str], at: int, here: Stage) -> tuple[Phase, ...]:
    """Those before ``at`` are done, those after it are not reached."""
    stages = [Stage.DONE if i < at else here if i == at else Stage.NEXT for i in range(len(names))]
    return tuple(map(Phase, names, stages))


def _back(end: ReleaseOutcome | None, name: str) -> Phase:
    return Phase(name, Stage.NOW if end is None else Stage.DONE if end in BACK else Stage.FAILED)
