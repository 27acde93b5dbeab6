"""Immediate actions: what is written, that the way back is kept, and whom they leave alone."""

import pytest

from playbook.errors import Held, Refused
from playbook.lease import change
from playbook.lease.change import Change
from playbook.lease.lease import ReleaseLease, ServiceRollout
from playbook.lease.mitigation import to_mitigate, to_restore
from playbook.lease.record import Participant, Record
from playbook.release.request import Measure, MitigateRequest
from playbook.release.traffic import LATEST, Scaling, ServiceSnapshot, TrafficSplit

SERVICE = "ethixai-backend"
SPLIT, SCALING = TrafficSplit.all_to("backend-3", {"theirs": "backend-1"}), Scaling(min_instances=3, max_instances=13)
MAINTENANCE = TrafficSplit.all_to("backend-maintenance")
FOUND = ServiceSnapshot(
    service=SERVICE, etag="1", uri="https://b", split=SPLIT, served=SPLIT, scaling=SCALING, annotations={"team": "ours"}
)


def asked(kind: Measure) -> MitigateRequest:
    return MitigateRequest(service=SERVICE, measure=kind, reason="a flood", requested_by="ada")


def after(snapshot: ServiceSnapshot, write: Change | None) -> ServiceSnapshot:
    assert write is not None
    fields: dict[str, object] = {"annotations": write.record.beside(snapshot.annotations)}
    fields |= {"split": write.split, "served": write.split} if write.split else {}
    fields |= {"scaling": write.scaling} if write.scaling else {}
    return snapshot.model_copy(update=fields)


def read_only(snapshot: ServiceSnapshot = FOUND) -> Change | None:
    return to_mitigate(snapshot, asked(Measure.READ_ONLY), MAINTENANCE, None, 1.0)


def scaled(snapshot: ServiceSnapshot = FOUND) -> Change | None:
    return to_mitigate(snapshot, asked(Measure.SCALE), None, Scaling(manual=0), 1.0)


@pytest.mark.parametrize("step", [read_only, scaled], ids=["read-only", "scale"])
def test_a_measure_is_taken_once_and_taken_back_exactly(step: object) -> None:
    """Doing it twice writes once; restore gives back split, scaling and tags, and leaves no mark."""
    assert callable(step)
    mitigated = after(FOUND, step())
    assert step(mitigated) is None
    restored = after(mitigated, to_restore(mitigated))
    assert (restored.split, restored.scaling, restored.annotations) == (SPLIT, SCALING, {"team": "ours"})
    assert to_restore(restored) is None


def test_a_second_measure_keeps_the_way_back_of_the_first() -> None:
    """Read-only, then scaled: restore goes back to before both."""
    both = after(after(FOUND, read_only()), scaled(after(FOUND, read_only())))
    restored = after(both, to_restore(both))
    assert (restored.split, restored.scaling) == (SPLIT, SCALING)


def test_a_restore_leaves_other_peoples_tags_as_they_are_now() -> None:
    """One that was removed meanwhile may be on a revision that is gone, and one that was added is a preview."""
    mitigated = after(FOUND, read_only())
    changed = mitigated.split.without_tags("theirs").with_tag("pr-12", "backend-4")
    mitigated = mitigated.model_copy(update={"split": changed, "served": changed})
    restored = after(mitigated, to_restore(mitigated))
    assert (restored.split.percent, restored.split.tags) == (SPLIT.percent, {"pr-12": "backend-4"})


def test_a_restore_of_the_scaling_alone_leaves_latest_in_its_place() -> None:
    """Pinned to a revision, the next deployment of its owner would get no user."""
    found = FOUND.model_copy(update={"split": TrafficSplit.all_to(LATEST), "latest_ready": "backend-3"})
    mitigated = after(found, scaled(found))
    restored = after(mitigated, to_restore(mitigated))
    assert (restored.split, restored.scaling) == (found.split, SCALING)


def test_what_is_held_is_not_opened_under_its_hands() -> None:
    """A migration rollback took a service that is in read-only mode: `restore` would let users write meanwhile."""
    held = after(FOUND, read_only())
    participant = Participant(release_id="migration-1", epoch=2, coordinator="lead", split=SPLIT)
    record = Record.read(held).model_copy(update={"participant": participant, "epoch": participant.epoch})
    with pytest.raises(Held, match="migration-1"):
        to_restore(held.model_copy(update={"annotations": record.beside(held.annotations)}))


def test_other_peoples_tags_stay() -> None:
    """A measure moves users, not what others have marked."""
    assert after(FOUND, read_only()).split.tags == {"theirs": "backend-1"}


def test_a_service_that_a_release_holds_is_left_alone() -> None:
    """The release would take it for a change by another person: the next step is the rollback."""
    participant = Participant(release_id="v1-abc", epoch=5, coordinator="x", split=SPLIT)
    held = FOUND.model_copy(update={"annotations": Record(epoch=5, participant=participant).annotations()})
    with pytest.raises(Held, match=r"held by release v1-abc\. Start rollback"):
        read_only(held)


def test_no_release_starts_from_a_mitigated_service() -> None:
    """Its stable revision would be the maintenance revision: restore comes first, and who took the measure is
    named."""
    mitigated = after(FOUND, read_only())
    rollout = ServiceRollout(
        service=SERVICE,
        from_revision=mitigated.pinned.main,
        found=mitigated.pinned,
        to_revision="backend-4",
        image="r@sha256:4",
    )
    lease = ReleaseLease(
        release_id="v20251116-abc123-1f2e3d",
        version="v20251116-abc123",
        flow_run_id="1",
        epoch=9,
        rollouts=(rollout,),
        canary_percent=10,
        deadline_s=9e9,
    )
    with pytest.raises(Refused, match=r"set to read-only, and its way back is .*\. Start mitigate/… with restore"):
        change.to_acquire(mitigated, lease)


def test_a_measure_of_which_a_part_is_missing_is_taken_again() -> None:
    """Users and instances must both be as it says, and the measure in force be the same one."""
    instances = Scaling(manual=2)

    def both(snapshot: ServiceSnapshot, kind: Measure = Measure.READ_ONLY) -> Change | None:
        return to_mitigate(snapshot, asked(kind), MAINTENANCE, instances, 1.0)

    mitigated = after(FOUND, both(FOUND))
    assert both(mitigated) is None
    assert both(mitigated, Measure.SCALE) is not None
    for missing in ({"split": SPLIT, "served": SPLIT}, {"scaling": SCALING}):
        assert both(mitigated.model_copy(update=missing)) is not None
    unmarked = mitigated.model_copy(update={"annotations": {}})
    assert both(unmarked) is not None
