"""From a lease and the state of its run to what a recovery does with it. Pure and total."""

from collections.abc import Sequence
from enum import StrEnum

from playbook.base import Frozen
from playbook.lease.lease import Decision, Lease, MigrationLease
from playbook.messages.times import clock_s

RESTARTS_MAX = 3
"""How often a migration rollback is started again before a person is paged: what kills it each time is no accident."""


class Step(StrEnum):
    """What a recovery does with a release that it finds."""

    RESUME = "RESUME"
    REVERT = "REVERT"
    HOLD = "HOLD"  # a person paused it: it waits for them, and is taken back at the deadline
    LEAVE = "LEAVE"
    RESTART = "RESTART"  # its own flow, which knows how to go on
    HALT = "HALT"  # page: nothing goes on by itself, and users notice
    ASK = "ASK"  # page: a person says whether it goes back; nothing late goes forward
    SET_ASIDE = "SET ASIDE"  # page: it is no lease of now


class Owner(StrEnum):
    """What is known of the process that holds the lease."""

    ALIVE = "alive"
    SILENT = "silent"  # its heartbeats stopped
    ENDED = "ended"  # its run is over, and the lease is still there
    DONE = "done"  # its run ended in a state that follows the release of the lease: what is found is an older record
    CANCELLED = "cancelled"
    PAUSED = "paused"  # a person paused its run in the UI, and its process has ended
    FOREIGN = "another's"  # the run exists, and is none that could hold the lease


class Recovery(Frozen):
    """The step, and why."""

    step: Step
    reason: str


def recover(lease: Lease | None, owner: Owner, now_s: float) -> Recovery:
    """Decide what becomes of ``lease``. ``now_s`` is unix seconds.

    The first that holds: nothing is held -> LEAVE; it names a run that cannot hold it -> SET_ASIDE; the owner lives and
    its time is not over -> LEAVE; a migration is being taken back -> `recover_migration`; its run has let go of it ->
    SET_ASIDE; already reverting or cancelled -> REVERT; paused by a person -> HOLD until the pause's deadline, then
    REVERT; its time is over -> ASK in a promotion under way, else REVERT; else RESUME. Nothing late goes forward
    without a person. Source: docs/architecture.md.
    """
    if lease is None:
        return Recovery(step=Step.LEAVE, reason="no release holds these services")
    is_late = now_s > lease.deadline_s
    if owner is Owner.FOREIGN:
        reason = f"flow run {lease.flow_run_id} is no run that could hold {lease.release_id}"
        return Recovery(step=Step.SET_ASIDE, reason=reason)
    if owner is Owner.ALIVE and not is_late:
        return Recovery(step=Step.LEAVE, reason=f"{lease.release_id} is alive")
    if isinstance(lease, MigrationLease):
        return recover_migration(lease, owner)
    if owner is Owner.DONE:
        reason = f"flow run {lease.flow_run_id} has ended and let go of {lease.release_id}: this is an older record"
        return Recovery(step=Step.SET_ASIDE, reason=reason)
    if lease.decision is Decision.REVERT:
        return Recovery(step=Step.REVERT, reason=lease.reason or "the release was being reverted")
    if owner is Owner.CANCELLED:
        return Recovery(step=Step.REVERT, reason="the release was cancelled")
    if owner is Owner.PAUSED or lease.pause is not None:
        return recover_paused(lease, now_s)
    if lease.decision is Decision.PROMOTE and is_late:
        return Recovery(
            step=Step.ASK, reason="its promotion had begun, and it still held its services when its deadline was over"
        )
    if lease.decision is Decision.PROMOTE:
        return Recovery(step=Step.RESUME, reason=f"the promotion goes on: its process is {owner}")
    if is_late:
        return Recovery(step=Step.REVERT, reason="the release took longer than its deadline allows")
    return Recovery(step=Step.RESUME, reason=f"the release goes on from {lease.decision}: its process is {owner}")


def recover_paused(lease: Lease, now_s: float) -> Recovery:
    """What a person has paused goes forward only when they resume it."""
    until_s = min(lease.pause.until_s, lease.deadline_s) if lease.pause else lease.deadline_s
    if now_s >= until_s:
        return Recovery(step=Step.REVERT, reason=not_resumed(until_s))
    return Recovery(step=Step.HOLD, reason="a person paused it in the Prefect UI")


def not_resumed(until_s: float) -> str:
    """Why a paused release is taken back at its deadline (unix seconds)."""
    return f"It was paused in the Prefect UI and not resumed by {clock_s(until_s)} UTC."


def recover_migration(lease: MigrationLease, owner: Owner) -> Recovery:
    """Never reverted, for half of the data may be changed: one that lost its process goes on; one that a person has
    cancelled or paused, or that goes on losing its process, stops with a page, since writes are off; one that has said
    why it stopped waits for a person.
    """
    if lease.halted:
        return Recovery(step=Step.LEAVE, reason=f"a person must start it again: {lease.halted}")
    if owner in (Owner.CANCELLED, Owner.PAUSED):
        return Recovery(step=Step.HALT, reason=f"the migration rollback was {owner}")
    if lease.restarts >= RESTARTS_MAX:
        reason = f"it was started again {lease.restarts} times, and its process is {owner} once more"
        return Recovery(step=Step.HALT, reason=reason)
    return Recovery(step=Step.RESTART, reason=f"the migration rollback goes on: its process is {owner}")


def unless_stopped(decided: Recovery, lease: Lease, stops: Sequence[str]) -> Recovery:
    """``decided``, unless something on the services ``stops`` the release: nothing goes forward then. A migration's own
    flow looks for itself."""
    if not stops or isinstance(lease, MigrationLease) or decided.step not in (Step.RESUME, Step.HOLD):
        return decided
    return Recovery(step=Step.REVERT, reason="; ".join(stops)[:500])
