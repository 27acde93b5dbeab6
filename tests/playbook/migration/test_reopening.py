"""The code that will serve is tried out of sight, and a copy of it is deployed where its secrets must be read anew."""

import pytest

from playbook.errors import Refused
from playbook.lease import change
from playbook.lease.build import Holder, migration_lease, migration_rollout
from playbook.lease.change import Change
from playbook.lease.lease import MigrationLease
from playbook.lease.record import Record
from playbook.migration.plan import MigrationRequest, MigrationRollback, RollbackPlan, Way
from playbook.migration.progress import details_of
from playbook.migration.write_freeze import code_after, repointed, to_introduce, to_repoint
from playbook.release.promotion import Promotion
from playbook.release.traffic import Revision, Scaling, ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import ServiceState

OLD, NEW = "s-old", "s-new"
GOOD = Promotion(release="v20251030-bbbbbb", revision=OLD, digest="sha256:o", promoted_at_s=1)
PLAN = RollbackPlan(undo=("m1",), way=Way.DOWN, schema_now=2, schema_after=1, applied_at_s=5)
REVISIONS = tuple(Revision(name=name, image=f"r@{name}", is_ready=True, is_active=True) for name in (OLD, NEW))
FOUND = ServiceSnapshot(
    service="s",
    etag="1",
    uri="https://s",
    split=TrafficSplit.all_to(NEW),
    served=TrafficSplit.all_to(NEW),
    annotations=Record(last_good=(GOOD,)).annotations(),
    scaling=Scaling(manual=0),
    latest_ready=NEW,
    latest_created=NEW,
)


def lease(epoch: int = 1000) -> MigrationLease:
    """The lease that opens the service with the older release."""
    request = MigrationRequest(reason="broken", requested_by="Ada")
    made = migration_lease(
        "m1",
        (migration_rollout(FOUND, GOOD, REVISIONS),),
        (FOUND,),
        Holder(flow_run_id="0123456789abcdef" * 2, now_s=1000.0, deadline_s=1000.0),
        requested_by="Ada",
        reason="broken",
        maintenance={},
        details=details_of(MigrationRollback(request=request, plan=PLAN, environment="production")),
    )
    return made.model_copy(update={"epoch": epoch})


LEASE = lease()


def after(snapshot: ServiceSnapshot, made: Change | None) -> ServiceSnapshot:
    """The service once ``made`` is served."""
    assert made is not None
    split = made.split or snapshot.split
    return snapshot.model_copy(
        update={
            "annotations": made.record.beside(snapshot.annotations),
            "split": split,
            "served": split,
            "tag_urls": {tag: f"https://{tag}" for tag in split.tags},
        }
    )


HELD = after(FOUND, change.to_acquire(FOUND, LEASE))
INTRODUCED = after(HELD, to_introduce(HELD, LEASE))


def test_the_code_that_will_serve_gets_a_tag_and_no_users() -> None:
    """Smoke tests reach it at the tag's URL; done twice, it is written once."""
    assert INTRODUCED.split == TrafficSplit(percent={NEW: 100}, tags={LEASE.tag: OLD})
    assert to_introduce(INTRODUCED, LEASE) is None


@pytest.mark.parametrize(
    "changes",
    [{"tag_urls": {}}, {"split": TrafficSplit.all_to(NEW)}, {"split": TrafficSplit.all_to(NEW, {LEASE.tag: NEW})}],
    ids=["the tag has no URL yet", "the tag was removed", "the tag names another revision"],
)
def test_what_is_missing_of_the_tag_is_written_again(changes: dict[str, object]) -> None:
    """Without its URL no smoke test reaches the code."""
    made = to_introduce(INTRODUCED.model_copy(update=changes), LEASE)
    assert made is not None
    assert made.split == INTRODUCED.split


def test_a_run_that_took_over_writes_its_own_epoch_beside_the_tag() -> None:
    """Else the run before it could still write."""
    made = to_introduce(INTRODUCED, lease(epoch=1001))
    assert made is not None
    assert (made.record.epoch, made.split) == (1001, INTRODUCED.split)


OURS = repointed(LEASE)
COPY = OURS.rollout("s").to_revision


@pytest.mark.parametrize(
    "changes",
    [{}, {"latest_created": COPY}, {"latest_ready": COPY}],
    ids=["it does not exist", "it was created and did not become ready", "a later revision was created"],
)
def test_a_copy_that_does_not_run_is_deployed(changes: dict[str, object]) -> None:
    """From the revision that it copies, with a tag and without users."""
    made = to_repoint(HELD.model_copy(update=changes), OURS, OLD)
    assert made is not None
    assert made.deployment == change.Deployment(revision=COPY, base=OLD, image=f"r@{OLD}")
    assert made.split == TrafficSplit(percent={NEW: 100}, tags={OURS.tag: COPY})


def test_a_service_without_any_good_release_is_refused() -> None:
    """What serves there was not released by the engine: what it can read is not known."""
    unknown = FOUND.model_copy(update={"annotations": {}})
    with pytest.raises(Refused, match=r"s: no good release can read what is left\. No migration says what a revision"):
        code_after(ServiceState(snapshot=unknown, revisions=REVISIONS), (), 1, "")
