"""What is found after a crash decides what is done about it, for every combination there is."""

import itertools

import pytest

from playbook.lease.lease import Decision, Lease, MigrationLease, Pause, ReleaseLease, ServiceRollout
from playbook.lease.recovery import Owner, Step, recover
from playbook.release.traffic import TrafficSplit

NOW_S = 1_763_647_200.0


def lease(decision: Decision, left_s: float = 600) -> Lease:
    rollout = ServiceRollout(
        service="s",
        from_revision="s-old",
        found=TrafficSplit.all_to("s-old"),
        to_revision="s-new",
        image="r@sha256:x",
    )
    return ReleaseLease(
        release_id="v20251116-abc123-1f2e3d",
        version="v20251116-abc123",
        flow_run_id="1",
        epoch=1,
        decision=decision,
        rollouts=(rollout,),
        canary_percent=10,
        deadline_s=NOW_S + left_s,
    )


def migration(decision: Decision, left_s: float = 600, **fields: object) -> MigrationLease:
    return MigrationLease.model_validate(lease(decision, left_s).model_dump() | {"kind": "migration"} | fields)


TABLE = [
    (Decision.DEPLOY, Owner.ENDED, 600, Step.RESUME),
    (Decision.DEPLOY, Owner.SILENT, 600, Step.RESUME),
    (Decision.BAKE, Owner.ENDED, 600, Step.RESUME),
    (Decision.BAKE, Owner.SILENT, 600, Step.RESUME),
    (Decision.PROMOTE, Owner.ENDED, 600, Step.RESUME),
    (Decision.REVERT, Owner.ENDED, 600, Step.REVERT),
    (Decision.REVERT, Owner.SILENT, 600, Step.REVERT),
    (Decision.BAKE, Owner.CANCELLED, 600, Step.REVERT),
    (Decision.PROMOTE, Owner.CANCELLED, 600, Step.REVERT),
    (Decision.BAKE, Owner.ALIVE, 600, Step.LEAVE),
    (Decision.REVERT, Owner.ALIVE, 600, Step.LEAVE),
    (Decision.DEPLOY, Owner.SILENT, -1, Step.REVERT),
    (Decision.BAKE, Owner.ENDED, -1, Step.REVERT),
    (Decision.BAKE, Owner.ALIVE, -1, Step.REVERT),
    (Decision.PROMOTE, Owner.SILENT, -1, Step.ASK),
    (Decision.PROMOTE, Owner.ALIVE, -1, Step.ASK),
    (Decision.PROMOTE, Owner.CANCELLED, -1, Step.REVERT),
    (Decision.BAKE, Owner.DONE, 600, Step.SET_ASIDE),
    (Decision.PROMOTE, Owner.DONE, -1, Step.SET_ASIDE),
    (Decision.REVERT, Owner.DONE, 600, Step.SET_ASIDE),
    *((decision, Owner.FOREIGN, left_s, Step.SET_ASIDE) for decision in Decision for left_s in (600, -1)),
]


@pytest.mark.parametrize(("decision", "owner", "left_s", "step"), TABLE)
def test_what_is_found_decides(decision: Decision, owner: Owner, left_s: float, step: Step) -> None:
    """Resumed where it can be, reverted where a person wanted that or time is over, left where it lives. Late, it
    never goes forward by itself."""
    assert recover(lease(decision, left_s), owner, NOW_S).step is step


@pytest.mark.parametrize(("decision", "owner"), list(itertools.product(Decision, Owner)))
def test_recovery_is_total_and_says_why(decision: Decision, owner: Owner) -> None:
    """Whatever is found, there is a step and a reason for it."""
    found = recover(lease(decision), owner, NOW_S)
    assert found.step in Step
    assert found.reason


def test_where_nothing_is_held_nothing_is_done() -> None:
    """A false alarm costs a look."""
    assert recover(None, Owner.ENDED, NOW_S).step is Step.LEAVE


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("left_s", [600, -1])
@pytest.mark.parametrize(
    ("owner", "halted", "step"),
    [
        (Owner.ENDED, "", Step.RESTART),
        (Owner.SILENT, "", Step.RESTART),
        (Owner.CANCELLED, "", Step.HALT),
        (Owner.ENDED, "the database is away", Step.LEAVE),
        (Owner.CANCELLED, "the database is away", Step.LEAVE),
    ],
)
def test_a_migration_is_never_reverted(
    decision: Decision, left_s: float, owner: Owner, halted: str, step: Step
) -> None:
    """Half of the data may be changed: it goes on, pages once, or waits for a person."""
    found = migration(decision, left_s, halted=halted)
    assert recover(found, owner, NOW_S).step is step


@pytest.mark.parametrize("owner", [Owner.ENDED, Owner.SILENT])
def test_a_migration_that_goes_on_dying_is_a_persons(owner: Owner) -> None:
    """Writes are off all the while, and nobody has heard of it."""
    decided = recover(migration(Decision.REVERT, restarts=3), owner, NOW_S)
    assert (decided.step, "started again 3 times" in decided.reason) == (Step.HALT, True)


@pytest.mark.parametrize(
    ("owner", "paused_s", "left_s", "step"),
    [
        pytest.param(Owner.PAUSED, None, 600, Step.HOLD, id="paused in the UI, its process has ended"),
        pytest.param(Owner.PAUSED, None, 0, Step.REVERT, id="at the release's deadline"),
        pytest.param(Owner.SILENT, 300, 600, Step.HOLD, id="paused with a deadline of its own"),
        pytest.param(Owner.SILENT, 0, 600, Step.REVERT, id="at that deadline"),
        pytest.param(Owner.SILENT, 900, 600, Step.HOLD, id="the pause may be longer than the release's time"),
        pytest.param(Owner.SILENT, 900, -1, Step.REVERT, id="which ends first"),
        pytest.param(Owner.ALIVE, 300, 600, Step.LEAVE, id="its process waits with it"),
        pytest.param(Owner.CANCELLED, 300, 600, Step.REVERT, id="cancelled while it was paused"),
    ],
)
def test_what_a_person_has_paused_waits_for_them_until_its_deadline(
    owner: Owner, paused_s: float | None, left_s: float, step: Step
) -> None:
    """It goes forward only when they resume it."""
    found = lease(Decision.BAKE, left_s)
    if paused_s is not None:
        found = found.paused(Pause(flow_run_id="2", until_s=NOW_S + paused_s))
    decided = recover(found, owner, NOW_S)
    assert decided.step is step
    assert ("not resumed by" in decided.reason) is (step is Step.REVERT and owner is not Owner.CANCELLED)


@pytest.mark.parametrize("owner", [Owner.ENDED, Owner.ALIVE])
def test_a_release_has_all_of_its_time(owner: Owner) -> None:
    """Its deadline belongs to it."""
    assert recover(lease(Decision.BAKE, 0), owner, NOW_S).step is (Step.LEAVE if owner is Owner.ALIVE else Step.RESUME)


@pytest.mark.parametrize(
    ("owner", "restarts", "step"),
    [
        (Owner.PAUSED, 0, Step.HALT),
        (Owner.DONE, 0, Step.RESTART),
        (Owner.ALIVE, 0, Step.LEAVE),
        (Owner.SILENT, 2, Step.RESTART),
    ],
)
def test_a_migration_stops_for_a_person_alone(owner: Owner, restarts: int, step: Step) -> None:
    """One who paused it, or who is paged when it goes on losing its process."""
    assert recover(migration(Decision.REVERT, restarts=restarts), owner, NOW_S).step is step
