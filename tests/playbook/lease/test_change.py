"""The steps: what one update writes, that doing it twice writes once, and whom it never overwrites."""

import json
from functools import partial

import pytest

from playbook.errors import Conflict, Fenced, Held, OutOfBandChange, Refused
from playbook.incident.decision_matrix import Symptom
from playbook.lease import change
from playbook.lease.change import Change
from playbook.lease.lease import Decision, Lease, Measured, ReleaseLease, RollbackLease, ServiceRollout
from playbook.lease.record import Participant, Record
from playbook.release.promotion import Promotion
from playbook.release.request import RollbackRequest
from playbook.release.traffic import LATEST, PREVIOUS_TAG, Scaling, ServiceSnapshot, TrafficSplit

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
NOW_S = 1_763_647_200.0


def stable(service: str) -> TrafficSplit:
    return TrafficSplit.all_to(f"{service}-old")


CLAIM = ReleaseLease(
    release_id="v20251116-abc123-1f2e3d",
    version="v20251116-abc123",
    flow_run_id="1f2e3d" * 5 + "00",
    epoch=100,
    rollouts=tuple(
        ServiceRollout(
            service=service,
            from_revision=f"{service}-old",
            found=stable(service),
            to_revision=f"{service}-new-1f2e3d",
            image=f"repo/{service}@sha256:{service}",
            latest_created=f"{service}-old",
        )
        for service in (LEAD, OTHER)
    ),
    canary_percent=10,
    deadline_s=NOW_S + 7200,
)


BACK = Promotion(release="v20251109-0000aa", revision=f"{OTHER}-old", digest="", promoted_at_s=1.0)
REQUEST = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")
RETURNING = RollbackLease.model_validate(
    CLAIM.model_dump()
    | {
        "kind": "rollback",
        "request": REQUEST,
        "decision": "REVERT",
        "rollouts": tuple(
            rollout.model_copy(
                update={
                    "from_revision": rollout.to_revision,
                    "to_revision": rollout.from_revision,
                    "found": TrafficSplit.all_to(rollout.to_revision),
                    "back_to": BACK,
                }
            )
            for rollout in CLAIM.rollouts
        ),
    }
)


def found(
    service: str, split: TrafficSplit | None = None, record: Record | None = None, **kwargs: object
) -> ServiceSnapshot:
    """A service as it is read, settled, by default before anything was done to it."""
    split = split or stable(service)
    fields = {
        "service": service,
        "etag": "1",
        "uri": "http://s",
        "split": split,
        "served": split,
        "annotations": (record or Record()).beside({"team": "ours"}),
        "latest_ready": f"{service}-old",
        "latest_created": f"{service}-old",
    }
    return ServiceSnapshot.model_validate(fields | kwargs)


def after(snapshot: ServiceSnapshot, write: Change | None) -> ServiceSnapshot:
    """The service once ``write`` was applied."""
    assert write is not None
    split = write.split or snapshot.split
    update: dict[str, object] = {
        "annotations": write.record.beside(snapshot.annotations),
        "split": split,
        "served": TrafficSplit(percent=split.percent, tags=split.tags),
    }
    if write.deployment:
        update["latest_created"] = write.deployment.revision
    return snapshot.model_copy(update=update)


def claimed(service: str, lease: Lease = CLAIM) -> ServiceSnapshot:
    snapshot = found(service)
    return after(snapshot, change.to_acquire(snapshot, lease))


STEPS = {
    "claim": partial(change.to_acquire, lease=CLAIM),
    "deploy": partial(change.to_deploy, lease=CLAIM, overrides={}),
    "bake": partial(change.to_bake, lease=CLAIM.decided(Decision.BAKE)),
    "promote": partial(change.to_promote, lease=CLAIM.decided(Decision.PROMOTE)),
    "revert": partial(change.to_revert, lease=CLAIM.decided(Decision.REVERT)),
    "release": partial(change.to_release_lease, lease=CLAIM.decided(Decision.PROMOTE), now_s=NOW_S),
}


@pytest.mark.parametrize("service", [LEAD, OTHER])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_doing_a_step_twice_writes_once(step: partial[Change | None], service: str) -> None:
    """After its own change was applied, a step finds nothing left to write."""
    snapshot = found(service) if step is STEPS["claim"] else claimed(service)
    if step is STEPS["revert"]:
        snapshot = after(snapshot, STEPS["bake"](snapshot))
    assert step(after(snapshot, step(snapshot))) is None


def test_a_plain_claim_carries_no_field_at_its_default() -> None:
    """The version of ours before this one refuses fields that it does not know: what is not used is not written."""
    written = claimed(LEAD).annotations["playbook.ethixai.com/claim"]
    used = {"kind", "release_id", "version", "flow_run_id", "epoch", "rollouts", "canary_percent", "deadline_s"}
    fields = json.loads(written)
    assert set(fields) == used
    assert set(fields["rollouts"][0]) == {"service", "from_revision", "to_revision", "found", "image", "latest_created"}
    assert "null" not in written
    assert Record.read(claimed(LEAD)).lease == CLAIM


@pytest.mark.parametrize("lease", [CLAIM, RETURNING, CLAIM.decided(Decision.BAKE).scaled(OTHER, NOW_S)])
def test_what_is_left_out_of_a_claim_is_read_as_it_was(lease: Lease) -> None:
    """Written with every field, as the version before did, or without: the same claim."""
    record = Record(lease=lease, epoch=lease.epoch)
    full = record.annotations() | {"playbook.ethixai.com/claim": lease.model_dump_json()}
    for annotations in (record.annotations(), full):
        assert Record.read(found(LEAD).model_copy(update={"annotations": annotations})) == record


def test_the_lead_carries_the_whole_claim_and_the_others_point_to_it() -> None:
    """Who finds any service of a release finds the release."""
    assert Record.read(claimed(LEAD)).lease == CLAIM
    participant = Record.read(claimed(OTHER)).participant
    assert participant == Participant(release_id=CLAIM.release_id, epoch=100, coordinator=LEAD, split=stable(OTHER))
    back = change.to_revert(claimed(OTHER), CLAIM.decided(Decision.REVERT))
    assert back is not None
    assert back.record == Record(epoch=100, participant=participant.model_copy(update={"is_taken_back": True}))


def test_claiming_pins_latest() -> None:
    """The revision that serves when a release begins is named, so that a new one gets no users by itself."""
    snapshot = found(LEAD, TrafficSplit.all_to(LATEST))
    write = change.to_acquire(snapshot, CLAIM)
    assert write is not None
    assert write.split == stable(LEAD)


def test_a_service_that_another_release_holds_is_not_claimed() -> None:
    """The holder is named; asking for the very same version says so."""
    other = CLAIM.model_copy(update={"release_id": "v20251115-fffff1-aaaaaa"})
    with pytest.raises(Held, match="v20251115-fffff1-aaaaaa") as held:
        change.to_acquire(claimed(LEAD, other), CLAIM)
    assert not held.value.is_same
    again = CLAIM.model_copy(update={"release_id": "v20251116-abc123-bbbbbb"})
    with pytest.raises(Held) as held:
        change.to_acquire(claimed(OTHER, again), CLAIM)
    assert held.value.is_same


def test_a_service_that_moved_since_the_plan_is_not_claimed() -> None:
    """A plan made on other traffic is not carried out."""
    with pytest.raises(Conflict, match="Start it again"):
        change.to_acquire(found(LEAD, TrafficSplit.all_to("somebody-elses")), CLAIM)


def test_a_newer_epoch_fences_every_step() -> None:
    """A run that is no longer the newest writes nothing."""
    newer = claimed(LEAD, CLAIM.model_copy(update={"epoch": 101}))
    for name in ("deploy", "bake", "promote", "revert", "release"):
        with pytest.raises(Fenced, match="epoch 101"):
            STEPS[name](newer)


def test_a_release_that_was_taken_over_while_it_let_go_does_not_end_promoted() -> None:
    """The new holder may have reverted it. A release recorded as good has ended, whichever run came since."""
    promoting = CLAIM.decided(Decision.PROMOTE)
    taken_back = found(OTHER, record=Record(epoch=101))
    with pytest.raises(Fenced, match="taken over by a run of epoch 101"):
        change.to_release_lease(taken_back, promoting, NOW_S)
    good = Promotion(release=CLAIM.version, revision=f"{OTHER}-new-1f2e3d", digest="", promoted_at_s=NOW_S)
    another = Participant(release_id="v20251123-def456-1f2e3d", epoch=101, coordinator=LEAD, split=stable(OTHER))
    ended = found(OTHER, record=Record(epoch=101, last_good=(good,), participant=another))
    assert change.to_release_lease(ended, promoting, NOW_S) is None
    assert change.to_release_lease(taken_back, CLAIM.decided(Decision.REVERT), NOW_S) is None


HANDS = {
    "traffic moved": {"split": TrafficSplit.all_to("theirs"), "served": TrafficSplit.all_to("theirs")},
    "traffic to latest": {"split": TrafficSplit.all_to(LATEST), "latest_ready": "theirs"},
    "the claim taken off": {"annotations": Record(epoch=100).annotations()},
}


@pytest.mark.parametrize("out_of_band", HANDS.values(), ids=HANDS)
def test_another_persons_change_interrupts_every_step(out_of_band: dict[str, object]) -> None:
    """What a person changed is never overwritten, whatever the release was about to do."""
    touched = claimed(OTHER).model_copy(update={**out_of_band, "last_modifier": "ada@example.com"})
    for name in ("deploy", "bake", "promote", "revert"):
        with pytest.raises(OutOfBandChange) as interrupted:
            STEPS[name](touched)
        assert interrupted.value.service == OTHER


def test_a_preview_without_users_is_none_of_our_business() -> None:
    """Case C4: `gcloud run deploy --no-traffic --tag pr-9` while the release goes on."""
    baking = CLAIM.decided(Decision.BAKE)
    deployed = after(claimed(OTHER), STEPS["deploy"](claimed(OTHER)))
    shown = after(deployed, change.to_bake(deployed, baking))
    split = shown.split.with_tag("pr-9", "theirs")
    previewed = shown.model_copy(update={"split": split, "served": split, "latest_created": "theirs"})
    assert change.to_bake(previewed, baking) is None
    promoting = baking.baking_from(NOW_S).decided(Decision.PROMOTE)
    promoted = after(previewed, change.to_promote(previewed, promoting))
    assert promoted.split == TrafficSplit.all_to(
        f"{OTHER}-new-1f2e3d", {"pr-9": "theirs", CLAIM.tag: f"{OTHER}-new-1f2e3d", PREVIOUS_TAG: f"{OTHER}-old"}
    )


def test_a_tag_that_its_owner_removed_does_not_come_back() -> None:
    """Case C1: its revision may be deleted, and no split that names it is accepted any more."""
    tagged = found(OTHER, stable(OTHER).with_tag("pr-12", "gone"))
    rollout = CLAIM.rollout(OTHER).model_copy(update={"found": tagged.split})
    lease = CLAIM.model_copy(update={"rollouts": (CLAIM.rollouts[0], rollout)}).decided(Decision.REVERT)
    canary = stable(OTHER).with_canary(f"{OTHER}-new-1f2e3d", 10)
    baking = found(OTHER, canary, change.mark(Record(), lease, OTHER))
    reverted = change.to_revert(baking, lease)
    assert reverted is not None
    assert reverted.split == stable(OTHER)


def test_letting_go_leaves_a_persons_traffic_alone() -> None:
    """Our marks go; what another person has set stays to the letter."""
    touched = claimed(OTHER).model_copy(update={"split": TrafficSplit.all_to(LATEST), "served": None})
    write = change.to_release_lease(touched, CLAIM.decided(Decision.REVERT), NOW_S)
    assert write is not None
    assert write.split is None


def test_nothing_is_good_that_does_not_serve() -> None:
    """A person moved users between the last look and the last write: the record does not name what nobody has."""
    touched = claimed(OTHER).model_copy(update={"split": TrafficSplit.all_to("theirs")})
    for lease in (CLAIM.decided(Decision.PROMOTE), RETURNING):
        write = change.to_release_lease(touched, lease, NOW_S)
        assert write is not None
        assert write.record == Record(epoch=100)


def test_a_promoted_service_remembers_its_last_three_releases() -> None:
    """The newest first; everything else of the claim goes, the epoch stays."""
    older = tuple(Promotion(release=f"v{n}", revision=f"r{n}", digest="sha256:x", promoted_at_s=n) for n in (3, 2, 1))
    snapshot = claimed(LEAD)
    record = Record.read(snapshot).model_copy(update={"last_good": older})
    split = TrafficSplit.all_to(f"{LEAD}-new-1f2e3d")
    snapshot = snapshot.model_copy(update={"annotations": record.annotations(), "split": split})
    left = Record.read(after(snapshot, STEPS["release"](snapshot)))
    assert [p.release for p in left.last_good] == [CLAIM.version, "v3", "v2"]
    assert left.last_good[0].digest == f"sha256:{LEAD}"
    assert (left.lease, left.participant, left.epoch) == (None, None, 100)


def test_other_peoples_annotations_and_tags_survive_every_step() -> None:
    """We write beside what others keep on their services."""
    for name, step in STEPS.items():
        snapshot = found(LEAD) if name == "claim" else claimed(LEAD)
        tagged = snapshot.split.with_tag("theirs", f"{LEAD}-old")
        snapshot = snapshot.model_copy(update={"split": tagged, "served": tagged})
        result = after(snapshot, step(snapshot))
        assert result.annotations["team"] == "ours"
        assert result.split.tags["theirs"] == f"{LEAD}-old"


def test_a_rollback_leaves_no_tag_on_the_revision_that_serves_again() -> None:
    """The tag `previous` kept it alive to go back to; a later read would take it for the revision before."""
    tagged = TrafficSplit(
        percent={f"{OTHER}-new-1f2e3d": 100}, tags={PREVIOUS_TAG: f"{OTHER}-old", "theirs": f"{OTHER}-old"}
    )
    lease = RETURNING.model_copy(
        update={"rollouts": tuple(one.model_copy(update={"found": tagged}) for one in RETURNING.rollouts)}
    )
    before = found(OTHER, tagged)
    reverted = after(before, change.to_acquire(before, lease))  # a rollback moves users in the update that acquires
    assert change.to_revert(reverted, lease) is None
    assert reverted.split == TrafficSplit(percent={f"{OTHER}-old": 100}, tags={"theirs": f"{OTHER}-old"})


def test_promoting_keeps_the_old_revision_alive_by_a_tag() -> None:
    """Until the watch is over, going back is one traffic change to a warm revision."""
    promoted = after(claimed(LEAD), STEPS["promote"](claimed(LEAD)))
    assert promoted.split.tags == {CLAIM.tag: f"{LEAD}-new-1f2e3d", PREVIOUS_TAG: f"{LEAD}-old"}
    released = after(promoted, STEPS["release"](promoted))
    assert released.split.tags == {PREVIOUS_TAG: f"{LEAD}-old"}
    watched = after(released, change.to_end_watch(released, CLAIM.version))
    assert watched.split.tags == {}
    assert change.to_end_watch(watched, CLAIM.version) is None


def test_an_annotation_that_cannot_be_read_is_refused_with_the_next_step() -> None:
    """A person edited our record: say which service, and what to do."""
    broken = found(LEAD).model_copy(update={"annotations": {"playbook.ethixai.com/claim": "{"}})
    with pytest.raises(Refused, match=f"{LEAD}: its annotations .* cannot be used .*Restore them"):
        change.to_acquire(broken, CLAIM)


def test_a_revert_takes_back_only_the_instances_that_the_release_gave() -> None:
    """What a person changed meanwhile stays; what the release raised goes back with the traffic."""
    asked, given = Scaling(min_instances=1, max_instances=10), Scaling(min_instances=13, max_instances=13)
    rollout = CLAIM.rollout(OTHER).model_copy(update={"scaling": asked})
    lease = CLAIM.model_copy(update={"rollouts": (CLAIM.rollouts[0], rollout)}).decided(Decision.REVERT)
    canary = stable(OTHER).with_canary(f"{OTHER}-new-1f2e3d", 10)
    record = Record(
        epoch=100,
        participant=Participant(release_id=lease.release_id, epoch=100, coordinator=LEAD, split=stable(OTHER)),
    )
    found = ServiceSnapshot(
        service=OTHER,
        etag="1",
        uri="",
        split=canary,
        served=canary,
        annotations=record.annotations(),
        scaling=given,
        latest_created=f"{OTHER}-new-1f2e3d",
    )
    theirs, ours = change.to_revert(found, lease), change.to_revert(found, lease.scaled(OTHER, NOW_S))
    assert theirs is not None
    assert ours is not None
    assert (theirs.scaling, ours.scaling) == (None, asked)
    assert theirs.split == ours.split == stable(OTHER)


BAKING = CLAIM.decided(Decision.BAKE)
GONE_ON = {
    "it shows its canary": BAKING,
    "it bakes": BAKING.baking_from(NOW_S),
    "it has given instances": BAKING.scaled(OTHER, NOW_S),
    "it has measured": BAKING.model_copy(update={"measured": Measured(severity=None, failed=3, requests=100)}),
    "it reverts by itself": BAKING.decided(Decision.REVERT, "errors"),
}


@pytest.mark.parametrize("now", GONE_ON.values(), ids=GONE_ON)
def test_a_take_over_by_an_old_read_reads_again(now: Lease) -> None:
    """The process lived and went on under the same epoch: what it has noted since is not overwritten."""
    wanted = CLAIM.asked_back("ada asked for it", NOW_S).model_copy(update={"epoch": 101, "flow_run_id": "ab" * 16})
    coordinator = found(LEAD, record=change.mark(Record(), now, LEAD))
    with pytest.raises(Conflict, match=f"{LEAD}: {CLAIM.release_id} has gone on since it was read"):
        change.to_take_over(coordinator, wanted, CLAIM)


@pytest.mark.parametrize("service", [LEAD, OTHER])
def test_a_take_over_of_what_was_read_writes_once(service: str) -> None:
    """A lost reply is found out by asking again: the claim that stands there then is its own."""
    wanted = CLAIM.asked_back("ada asked for it", NOW_S).model_copy(update={"epoch": 101, "flow_run_id": "ab" * 16})
    taken = after(claimed(service), change.to_take_over(claimed(service), wanted, CLAIM))
    assert Record.read(taken).epoch == 101
    assert change.to_take_over(taken, wanted, CLAIM) is None


@pytest.mark.parametrize("service", [LEAD, OTHER])
def test_what_is_taken_back_after_all_is_not_good(service: str) -> None:
    """A release that was cancelled while it let go is written down as good on the services that it had let go."""
    promoted = claimed(service)
    promoted = after(promoted, change.to_promote(promoted, CLAIM.decided(Decision.PROMOTE)))
    let_go = after(promoted, change.to_release_lease(promoted, CLAIM.decided(Decision.PROMOTE), NOW_S))
    assert Record.read(let_go).last_good[0].revision == f"{service}-new-1f2e3d"
    ours = CLAIM.model_copy(update={"epoch": 101}).decided(Decision.REVERT, "cancelled")
    again = let_go.model_copy(
        update={"annotations": change.mark(Record.read(let_go), ours, service).beside(let_go.annotations)}
    )
    written = change.to_release_lease(again, ours, NOW_S)
    assert written is not None
    assert [good.revision for good in written.record.last_good] == [f"{service}-old"]


def test_only_an_orphan_of_the_release_that_is_gone_is_freed() -> None:
    """A service that another release holds by now is that one's."""
    assert change.to_free_orphan(claimed(OTHER), "v20251109-0000aa-4d5e6f") is None
    freed = after(claimed(OTHER), change.to_free_orphan(claimed(OTHER), CLAIM.release_id))
    assert (Record.read(freed).holder, freed.split) == ("", stable(OTHER))


ROOM = {
    "room for all": (Scaling(min_instances=1, max_instances=100), 12),
    "no maximum": (Scaling(min_instances=1), 12),
    "its owner's maximum": (Scaling(min_instances=1, max_instances=10), 9),
    "at its maximum": (Scaling(min_instances=5, max_instances=5), 0),
    "scaled by hand": (Scaling(manual=2), 0),
    "more than is asked for": (Scaling(min_instances=20, max_instances=30), 0),
}


@pytest.mark.parametrize(("scaling", "more"), ROOM.values(), ids=ROOM)
def test_more_instances_only_within_what_the_owner_has_set(scaling: Scaling, more: int) -> None:
    """Case C13: what the owner fixed stays, and what cannot be given is not announced."""
    assert change.instances_to_gain(scaling, 13) == more


def test_a_retry_of_what_was_taken_back_is_refused() -> None:
    """Case H13: Prefect's Retry runs a Reverted run again under the same id."""
    ended = found(LEAD, record=Record(epoch=100, incidents=(CLAIM.release_id,)))
    with pytest.raises(Refused, match=r"retry of it\. Start a new run"):
        change.to_acquire(ended, CLAIM)
