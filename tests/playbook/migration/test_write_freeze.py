"""Writes off and on again: which update each step is, and that doing it twice writes once."""

import pytest

from playbook.analysis.policy import Policy
from playbook.errors import BadRequest, Fenced, Held, Refused, Transient
from playbook.lease import change
from playbook.lease.build import Holder, migration_lease, migration_rollout
from playbook.lease.change import Change
from playbook.lease.halted import is_closed, not_newer
from playbook.lease.lease import Decision, Kind, MigrationLease
from playbook.lease.record import Mitigation, Record
from playbook.migration.messages import as_found
from playbook.migration.plan import (
    Batch,
    Migration,
    MigrationRequest,
    MigrationRollback,
    RollbackPlan,
    SchemaRange,
    Way,
)
from playbook.migration.progress import details_of, progress_of, with_progress
from playbook.migration.write_freeze import (
    can_introduce,
    check_closed,
    code_after,
    declined,
    repointed,
    scaling_after,
    to_close,
    to_end,
    to_halt,
    to_introduce,
    to_open,
    to_repoint,
)
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from playbook.release.traffic import Revision, Scaling, ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import ServiceState

OLD, NEW, CLOSED = "s-old", "s-new", "s-closed"
BATCH = Batch(collection="users", match={"b": {"$exists": True}}, change={"$rename": {"b": "a"}})
RENAME = Migration(
    name="20251106-rename",
    from_schema=1,
    to_schema=2,
    is_reversible=True,
    up=(BATCH,),
    down=(BATCH,),
    reads={"v20251030": SchemaRange(low=1, high=2), "v20251106": SchemaRange(low=2, high=2)},
)
GOOD = (
    Promotion(release="v20251106-aaaaaa", revision=NEW, digest="sha256:n", promoted_at_s=2),
    Promotion(release="v20251030-bbbbbb", revision=OLD, digest="sha256:o", promoted_at_s=1),
)
PLAN = RollbackPlan(undo=(RENAME.name,), way=Way.DOWN, schema_now=2, schema_after=1, applied_at_s=5)
ASKED = MigrationRequest(reason="broken", requested_by="Ada")
SCALING = Scaling(min_instances=2, max_instances=7)


def service(**changes: object) -> ServiceSnapshot:
    """A service whose newest release serves everybody."""
    split = TrafficSplit.all_to(NEW, {"theirs": OLD})
    found = ServiceSnapshot(
        service="s",
        etag="1",
        uri="https://s",
        split=split,
        served=split,
        annotations=Record(last_good=GOOD).annotations(),
        scaling=SCALING,
        latest_ready=NEW,
        latest_created=NEW,
    )
    return found.model_copy(update=changes)


def after(snapshot: ServiceSnapshot, change: Change | None) -> ServiceSnapshot:
    """The service once a change is served."""
    if change is None:
        return snapshot
    split = change.split or snapshot.split
    return snapshot.model_copy(
        update={
            "annotations": change.record.beside(snapshot.annotations),
            "split": split,
            "served": split,
            "scaling": change.scaling or snapshot.scaling,
            "tag_urls": {tag: f"https://{tag}" for tag in split.tags},
        }
    )


def found(snapshot: ServiceSnapshot | None = None) -> ServiceState:
    """What is known of it; both revisions are ready."""
    revisions = [Revision(name=name, image=f"r@{name}", is_ready=True, is_active=True) for name in (OLD, NEW)]
    return ServiceState(snapshot=snapshot or service(), revisions=tuple(revisions))


def lease(good: Promotion = GOOD[1], epoch: int = 10, **fields: object) -> MigrationLease:
    """The lease that takes the rename back and leaves ``good`` serving."""
    return lease_for(found(), good).model_copy(update={"epoch": epoch, **fields})


def lease_for(state: ServiceState, good: Promotion) -> MigrationLease:
    """The lease of one service, as its flow makes it."""
    return migration_lease(
        RENAME.name,
        (migration_rollout(state.snapshot, good, state.revisions),),
        (state.snapshot,),
        Holder(flow_run_id="0123456789abcdef" * 2, now_s=1000.0, deadline_s=1000.0),
        requested_by=ASKED.requested_by,
        reason=ASKED.reason,
        maintenance={},
        details=details_of(MigrationRollback(request=ASKED, plan=PLAN, environment="production")),
    )


CLAIM = lease()
HELD = after(service(), change.to_acquire(service(), CLAIM))


def test_the_claim_is_of_its_own_kind_and_outlives_a_release() -> None:
    """Nothing takes it over, and no deadline of a release makes it anybody's."""
    assert (CLAIM.kind, CLAIM.decision) == (Kind.MIGRATION, Decision.REVERT)
    assert not any(kind.may_take_over(CLAIM.kind) for kind in Kind)
    assert CLAIM.deadline_s > 1000 + 86_400


@pytest.mark.parametrize("maintenance", [{}, {"s": CLOSED}], ids=["no instances", "a maintenance revision"])
def test_writes_stop_and_start_and_everything_is_as_it_was_found(maintenance: dict[str, str]) -> None:
    """Closed, introduced, opened: split, tags and scaling come back; each step done twice writes once."""
    ours = lease(maintenance=maintenance)
    now = after(service(), change.to_acquire(service(), ours))
    for step in (change.to_record, to_close, to_introduce):
        now = after(now, step(now, ours))
        assert step(now, ours) is None
    now = after(now, to_open(now, ours, Policy()))
    assert to_open(now, ours, Policy()) is None
    assert now.split == TrafficSplit.all_to(OLD, {"theirs": OLD})
    assert now.scaling == SCALING


def test_closed_means_no_tag_and_no_instance() -> None:
    """A tag's URL would reach its revision past a service of 0 instances."""
    now = after(HELD, to_close(HELD, CLAIM))
    assert (now.split.tags, now.scaling.manual) == ({}, 0)


def test_closed_means_that_the_maintenance_revision_answers() -> None:
    """It keeps reads alive; scaling stays as it is."""
    ours = lease(maintenance={"s": CLOSED})
    held = after(service(), change.to_acquire(service(), ours))
    now = after(held, to_close(held, ours))
    assert (now.split, now.scaling) == (TrafficSplit.all_to(CLOSED), SCALING)


@pytest.mark.parametrize(
    ("changes", "is_off"),
    [
        ({}, False),
        ({"scaling": Scaling(manual=0)}, True),
        ({"scaling": Scaling(manual=0), "is_reconciling": True}, False),
        ({"scaling": Scaling(manual=3)}, False),
        ({"served": TrafficSplit.all_to(CLOSED)}, True),
        ({"served": TrafficSplit.all_to(CLOSED, {"canary": OLD})}, True),
        ({"served": TrafficSplit(percent={CLOSED: 50, NEW: 50})}, False),
        ({"served": TrafficSplit.all_to(OLD)}, False),
    ],
    ids=[
        "as it was found",
        "no instances",
        "not yet",
        "some instances",
        "maintenance",
        "maintenance, and a tag",
        "half of it",
        "opened by somebody with a revision that is neither",
    ],
)
def test_writes_are_off_where_nobody_or_the_maintenance_revision_answers(
    changes: dict[str, object], is_off: bool
) -> None:
    """By what is observed: what is not the code to be opened with is not closed for that."""
    assert is_closed(service(**changes), lease(maintenance={"s": CLOSED})) is is_off


def test_a_change_under_way_is_looked_at_again() -> None:
    """A revision is being made, and what it will be is not known yet: no walk stops for it."""
    closed = service(scaling=Scaling(manual=0))
    check_closed(closed, CLAIM)
    with pytest.raises(Transient, match="a change by eve is under way"):
        check_closed(closed.model_copy(update={"is_reconciling": True, "last_modifier": "eve"}), CLAIM)


def test_a_service_without_bounds_gets_the_playbooks() -> None:
    """3 to 13 (4, scenario 3, step 5)."""
    assert scaling_after(Scaling(), Policy()) == Scaling(min_instances=3, max_instances=13)
    assert scaling_after(SCALING, Policy()) == SCALING


def test_out_of_sight_only_where_somebody_answers() -> None:
    """At 0 instances a revision that has users is not started for its tag."""
    assert can_introduce(CLAIM, "s")
    assert not can_introduce(lease(GOOD[0]), "s")
    assert can_introduce(lease(GOOD[0], maintenance={"s": CLOSED}), "s")


def test_the_code_moves_no_further_than_it_must() -> None:
    """The newest good release that can read what is left."""
    assert code_after(found(), (RENAME,), 1, "") == GOOD[1]
    assert code_after(found(), (RENAME,), 2, "") == GOOD[0]
    assert code_after(found(), (RENAME,), 2, OLD) == GOOD[1]


@pytest.mark.parametrize(
    ("schema", "wanted", "error", "words"),
    [
        (1, "v20251106-aaaaaa", Refused, "can read schema 2; the database has schema 1"),
        (9, "", Refused, "schemas 1 to 2; the database has schema 9"),
        (1, "v1", BadRequest, "no good release of s; known are v20251106-aaaaaa, v20251030-bbbbbb"),
    ],
    ids=["named, and cannot read it", "none can", "unknown"],
)
def test_code_that_cannot_serve_is_refused(schema: int, wanted: str, error: type[Exception], words: str) -> None:
    """With what it reads and what the database would have."""
    with pytest.raises(error, match=words):
        code_after(found(), (RENAME,), schema, wanted)


def test_a_service_that_another_release_holds_is_not_taken() -> None:
    """Who has it is named."""
    with pytest.raises(Held, match="is held by release migration-"):
        change.to_acquire(HELD, lease(epoch=11).model_copy(update={"release_id": "another"}))


def test_an_older_run_stops_nothing() -> None:
    """A newer one has gone on; its claim is not marked as stopped by the old one."""
    newer = after(HELD, change.to_record(HELD, CLAIM.model_copy(update={"epoch": 11})))
    with pytest.raises(Fenced, match="went on in another run"):
        to_halt(newer, CLAIM, "why")
    with pytest.raises(Fenced, match="went on in another run"):
        not_newer(newer, CLAIM)


def test_why_it_stopped_stands_beside_how_far_it_was() -> None:
    """What was noted last is kept; said twice, it is written once."""
    further = with_progress(CLAIM, restore_job="job")
    now = after(HELD, change.to_record(HELD, further))
    now = after(now, to_halt(now, CLAIM, "the database is away"))
    kept = Record.read(now).lease
    assert kept is not None
    assert (progress_of(kept).restore_job, kept.halted) == ("job", "the database is away")
    assert to_halt(now, CLAIM, "the database is away") is None


def test_the_copies_that_read_the_restored_database_are_noted_with_what_they_copy() -> None:
    """So that a run that goes on copies the same revision, and not the copy."""
    ours = repointed(CLAIM)
    assert progress_of(ours).bases == {"s": OLD}
    assert ours.target(ours.rollout("s")) == TrafficSplit.all_to("s-restored-abcdef", {"theirs": OLD})


@pytest.mark.parametrize(("length", "middle"), [(47, "restored"), (49, "restor")])
def test_a_copy_of_a_service_with_a_long_name_has_a_name_that_cloud_run_takes(length: int, middle: str) -> None:
    """63 characters, which begin with the service's name: refused, it would halt with writes off."""
    name = "s" * length
    rollouts = (CLAIM.rollouts[0].model_copy(update={"service": name}),)
    copy = repointed(CLAIM.model_copy(update={"rollouts": rollouts})).rollouts[0].to_revision
    assert (copy, len(copy) <= 63) == (f"{name}-{middle}-abcdef", True)


def test_a_copy_that_is_still_starting_is_waited_for() -> None:
    """Its name is taken already: deployed again it would be a conflict, and the rollback would halt for nothing."""
    ours = repointed(CLAIM)
    copy = ours.rollout("s").to_revision
    starting = HELD.model_copy(update={"latest_created": copy, "is_reconciling": True})
    with pytest.raises(Transient, match="is still starting"):
        to_repoint(starting, ours, OLD)
    ready = starting.model_copy(update={"latest_ready": copy, "is_reconciling": False})
    assert to_repoint(ready, ours, OLD) is None


def test_the_copy_is_what_is_written_down_as_good() -> None:
    """A rollback after it would otherwise go back to the revision that reads the database that was left; newer code
    than what is gone back to is good no more.
    """
    ours = repointed(CLAIM)
    copy = ours.rollout("s").to_revision
    opened = HELD.model_copy(update={"split": TrafficSplit.all_to(copy), "served": TrafficSplit.all_to(copy)})
    released = to_end(opened, ours, now_s=9.0)
    assert released is not None
    assert [(good.release, good.revision) for good in released.record.last_good] == [(GOOD[1].release, copy)]
    stays = ours.rollouts[0].model_copy(update={"back_to": None})
    released = to_end(opened, ours.model_copy(update={"rollouts": (stays,)}), now_s=9.0)
    assert released is not None
    assert [good.revision for good in released.record.last_good] == [NEW, copy]


def test_after_a_no_everything_is_as_it_was_found() -> None:
    """The same revision, the same tags; the lease names who said no, for the run that must finish it."""
    ours = declined(CLAIM, "Ada said no")
    assert (ours.target(ours.rollout("s")), progress_of(ours).declined) == (service().split, "Ada said no")


MITIGATION = Mitigation(
    measure=Measure.READ_ONLY, by="Grace", reason="busy", at_s=1, split=TrafficSplit.all_to(NEW), scaling=SCALING
)
READ_ONLY = service(
    split=TrafficSplit.all_to(CLOSED),
    served=TrafficSplit.all_to(CLOSED),
    annotations=Record(last_good=GOOD, mitigation=MITIGATION).annotations(),
)


def mitigated_claim() -> MigrationLease:
    """A lease on a service that a person has set to read-only."""
    return lease_for(found(READ_ONLY), GOOD[1]).model_copy(update={"epoch": 10, "maintenance": {"s": CLOSED}})


def test_a_claim_that_is_let_go_leaves_everything_as_it_was() -> None:
    """Good releases, incidents and a mitigation with its way back; only the epoch stays grown."""
    ours = mitigated_claim()
    held = after(READ_ONLY, change.to_acquire(READ_ONLY, ours))
    now = after(held, change.to_undo_acquire(held, ours))
    assert Record.read(now) == Record.read(READ_ONLY).model_copy(update={"epoch": 10})
    assert change.to_undo_acquire(now, ours) is None


def test_a_mitigation_ends_when_the_service_is_opened() -> None:
    """It has users again: nothing is left to restore."""
    ours = mitigated_claim()
    held = after(READ_ONLY, change.to_acquire(READ_ONLY, ours))
    now = after(held, to_open(held, ours, Policy()))
    assert (now.split, Record.read(now).mitigation) == (TrafficSplit.all_to(OLD), None)
    assert to_open(now, ours, Policy()) is None


def test_after_a_no_a_service_is_as_it_was_before_its_measure() -> None:
    """Opened with the maintenance revision it would refuse writes for good: nothing is left to restore."""
    ours = declined(mitigated_claim(), "Ada said no")
    held = after(READ_ONLY, change.to_acquire(READ_ONLY, ours))
    now = after(held, to_open(held, ours, Policy()))
    assert (now.split, now.scaling, Record.read(now).mitigation) == (MITIGATION.split, SCALING, None)
    assert to_open(now, ours, Policy()) is None
    assert to_end(now, ours, now_s=9.0) is not None
    assert as_found(ours) == "s, as they were found; the measure that was in force on s is over"
