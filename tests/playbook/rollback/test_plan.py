"""Which revision a rollback goes back to, when it refuses, and what it leaves written."""

from functools import partial

import pytest

from playbook.errors import BadRequest, Conflict, Held, Refused
from playbook.incident.decision_matrix import Symptom
from playbook.lease import change
from playbook.lease.build import Holder, rollback_lease
from playbook.lease.change import Change
from playbook.lease.lease import Decision, Kind, Lease
from playbook.lease.record import Mitigation, Participant, Record
from playbook.release.promotion import Promotion
from playbook.release.request import Measure, RollbackRequest
from playbook.release.traffic import Revision, ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import ServiceState, check_free, plan_rollback, preview

CORE, BACKEND = "ethixai-ai-core", "ethixai-backend"
A, B, C = "v20251101-aaaaaa", "v20251108-bbbbbb", "v20251115-cccccc"
TIMES = {A: 1.0, B: 2.0, C: 3.0}
REQUEST = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")


def name(service: str, version: str) -> str:
    return f"{service}-{version[-6:]}"


def good(service: str, version: str, **changes: object) -> Promotion:
    revision = name(service, version)
    made = Promotion(release=version, revision=revision, digest=f"sha256:{revision}", promoted_at_s=TIMES[version])
    return made.model_copy(update=changes)


def revision(service: str, version: str, **changes: object) -> Revision:
    there = name(service, version)
    made = Revision(name=there, image=f"r/{service}@sha256:{there}", is_ready=True, is_active=True)
    return made.model_copy(update=changes)


def found(service: str, *goods: Promotion, serves: str = "", there: tuple[Revision, ...] | None = None) -> ServiceState:
    """A service that serves ``serves`` (its newest good release where nothing is said)."""
    split = TrafficSplit.all_to(serves or goods[0].revision)
    return ServiceState(
        snapshot=ServiceSnapshot(
            service=service,
            etag="1",
            uri=f"https://{service}",
            split=split,
            served=split,
            annotations=Record(epoch=7, last_good=goods).annotations(),
            latest_created=split.main,
        ),
        revisions=there if there is not None else tuple(revision(service, version) for version in TIMES),
    )


def team(*services: ServiceState) -> dict[str, ServiceState]:
    return {one.service: one for one in services}


def both(*versions: str) -> dict[str, ServiceState]:
    """Both services, with these good releases, the newest first."""
    return team(*(found(service, *(good(service, version) for version in versions)) for service in (CORE, BACKEND)))


def test_each_service_goes_back_to_the_good_release_before_the_one_it_serves() -> None:
    """All of them together, and what is taken back is named."""
    plan = plan_rollback(both(C, B, A))
    assert [rollout.to_revision for rollout in plan.rollouts] == [name(CORE, B), name(BACKEND, B)]
    assert [rollout.from_revision for rollout in plan.rollouts] == [name(CORE, C), name(BACKEND, C)]
    assert plan.version == C


def test_a_service_that_the_newest_release_left_alone_stays() -> None:
    """Its users never had what is taken back."""
    services = team(found(CORE, good(CORE, B), good(CORE, A)), found(BACKEND, good(BACKEND, C), good(BACKEND, B)))
    assert [rollout.service for rollout in plan_rollback(services).rollouts] == [BACKEND]


def test_a_service_of_which_no_release_is_recorded_stays() -> None:
    """One release of one service was the first, or the record of another one was removed: users of the rest go back."""
    strange = found(CORE, serves=f"{CORE}-00023-xyz")
    plan = plan_rollback(team(found(BACKEND, good(BACKEND, C), good(BACKEND, B)), strange))
    assert [rollout.service for rollout in plan.rollouts] == [BACKEND]
    assert plan.left.startswith(f" {CORE}: no release is recorded there, so it stays as it is. To move it too,")
    assert plan_rollback(both(C, B)).left == ""


def test_what_a_person_has_deployed_goes_back_to_the_newest_good_release() -> None:
    """A revision that nobody released was never good."""
    services = team(found(BACKEND, good(BACKEND, B), good(BACKEND, A), serves=f"{BACKEND}-00044-byhand"))
    (rollout,) = plan_rollback(services).rollouts
    assert rollout.to_revision == name(BACKEND, B)


def test_what_a_person_has_deployed_beside_the_newest_release_goes_back_with_it() -> None:
    """Not to the release that is being taken back, which is its newest good one."""
    theirs = found(BACKEND, good(BACKEND, C), good(BACKEND, B), serves=f"{BACKEND}-00044-byhand")
    plan = plan_rollback(team(found(CORE, good(CORE, C), good(CORE, B)), theirs))
    assert [rollout.to_revision for rollout in plan.rollouts] == [name(CORE, B), name(BACKEND, B)]


def put_back(*goods: Promotion) -> dict[str, ServiceState]:
    """The core was released with C and knows it; the backend was too, and an older record was written there."""
    core = good(CORE, C, revision=f"{CORE}-cccccc-1f2e3d")
    return team(found(CORE, core, good(CORE, B)), found(BACKEND, *goods, serves=f"{BACKEND}-cccccc-1f2e3d"))


def test_a_service_whose_record_is_an_older_one_goes_where_the_others_go() -> None:
    """Not to the newest release that the old record knows."""
    services = put_back(good(BACKEND, A), good(BACKEND, B))
    assert [rollout.to_revision for rollout in plan_rollback(services).rollouts] == [name(CORE, B), name(BACKEND, B)]


def test_a_service_whose_older_record_does_not_know_that_is_set_aside() -> None:
    """The others go back without it; it is said what serves there, and the preview says so too."""
    services = put_back(good(BACKEND, A))
    plan = plan_rollback(services)
    assert [rollout.service for rollout in plan.rollouts] == [CORE]
    (aside,) = plan.aside
    assert aside.service == BACKEND
    assert f"({C} serves its users and is not among its releases), so it stays as it is; to move it" in aside.problem
    assert str(aside) in preview(one.snapshot for one in services.values())
    assert [r.service for r in plan_rollback(services, f"{name(BACKEND, B)}").rollouts] == [BACKEND]


@pytest.mark.parametrize("to", ["", B], ids=["to the release before", "to a named one"])
def test_a_service_with_a_measure_in_force_is_refused_wherever_it_stands(to: str) -> None:
    """Its way back would undo the rollback; who took the measure is named, and what ends it."""
    services = both(C, B)
    snapshot = services[BACKEND].snapshot
    measure = Mitigation(
        measure=Measure.READ_ONLY, by="ada", reason="a flood", at_s=1.0, split=snapshot.split, scaling=snapshot.scaling
    )
    record = Record.read(snapshot).model_copy(update={"mitigation": measure})
    read_only = TrafficSplit.all_to(f"{BACKEND}-maintenance")
    update = {"annotations": record.annotations(), "split": read_only, "served": read_only}
    services[BACKEND] = services[BACKEND].model_copy(update={"snapshot": snapshot.model_copy(update=update)})
    with pytest.raises(Refused, match=f"{BACKEND} was set to read-only.* with restore first"):
        plan_rollback(services, to)


def test_a_service_that_is_held_alone_stops_all() -> None:
    """The lead is free, the other one is not: half of production must not go back."""
    services = both(C, B)
    snapshot = services[BACKEND].snapshot
    participant = Participant(release_id="migration-drop-1f2e3d", epoch=7, coordinator="another", split=snapshot.split)
    held = Record.read(snapshot).model_copy(update={"participant": participant}).annotations()
    update = {"snapshot": snapshot.model_copy(update={"annotations": held})}
    services[BACKEND] = services[BACKEND].model_copy(update=update)
    with pytest.raises(Held, match=f"{BACKEND} is held by release migration-drop-1f2e3d"):
        check_free(services, plan_rollback(services))
    check_free(both(C, B), plan_rollback(both(C, B)))


def test_a_newer_good_release_is_never_gone_back_to() -> None:
    """Where a person went back by hand, what they left is not good again."""
    services = team(found(BACKEND, *(good(BACKEND, v) for v in (C, B, A)), serves=name(BACKEND, B)))
    (rollout,) = plan_rollback(services).rollouts
    assert rollout.to_revision == name(BACKEND, A)


def test_a_revision_that_failed_is_no_target_unless_it_is_named() -> None:
    """It exists and is ready, and was never good: only a person may want it."""
    failed = Revision(name=f"{BACKEND}-failed", image="r/x@sha256:f", is_ready=True, is_active=False)
    there = (revision(BACKEND, C), failed, revision(BACKEND, B))
    services = team(found(BACKEND, good(BACKEND, C), good(BACKEND, B), there=there))
    assert plan_rollback(services).rollouts[0].to_revision == name(BACKEND, B)
    assert plan_rollback(services, failed.name).rollouts[0].to_revision == failed.name


REFUSALS = {
    "nothing was ever released": (
        team(found(BACKEND, serves=f"{BACKEND}-00041-xyz")),
        "nothing to roll back to: ethixai-backend serves ethixai-backend-00041-xyz 100 %.*Name a revision in 'to'",
    ),
    "the first release": (both(A), "nothing to roll back to: ethixai-ai-core .*; ethixai-backend "),
    "users came back already": (
        team(found(BACKEND, good(BACKEND, B, is_return=True), good(BACKEND, A))),
        f"already been taken back to {B}.*'to'; known are {B}, {A}",
    ),
    "the target was deleted": (
        team(found(BACKEND, good(BACKEND, C), good(BACKEND, B), there=(revision(BACKEND, C),))),
        f"{name(BACKEND, B)} .* does not exist any more. Name another in 'to'",
    ),
    "the target is not ready": (
        team(
            found(
                BACKEND,
                good(BACKEND, C),
                good(BACKEND, B),
                there=(revision(BACKEND, B, is_ready=False, reason="MIN_INSTANCES_NOT_PROVISIONED"),),
            )
        ),
        f"{name(BACKEND, B)} .* is not ready: MIN_INSTANCES_NOT_PROVISIONED",
    ),
    "the target runs another image": (
        team(
            found(
                BACKEND,
                good(BACKEND, C),
                good(BACKEND, B),
                there=(revision(BACKEND, B, image="r/x@sha256:other"),),
            )
        ),
        "runs r/x@sha256:other, not sha256:.* as when it was promoted",
    ),
}


@pytest.mark.parametrize(("services", "words"), REFUSALS.values(), ids=REFUSALS)
def test_it_refuses_with_the_service_the_revision_and_the_next_step(
    services: dict[str, ServiceState], words: str
) -> None:
    """Before anything moves, in a sentence a tired person can act on."""
    with pytest.raises(Refused, match=words):
        plan_rollback(services)


def test_a_release_or_revisions_may_be_named() -> None:
    """A version concerns every service that had it; a revision its own."""
    assert [p.to_revision for p in plan_rollback(both(C, B, A), A).rollouts] == [name(CORE, A), name(BACKEND, A)]
    assert [p.to_revision for p in plan_rollback(both(C, B, A), name(BACKEND, A)).rollouts] == [name(BACKEND, A)]
    named = f"{name(BACKEND, A)}, {name(CORE, B)}"
    assert [p.to_revision for p in plan_rollback(both(C, B, A), named).rollouts] == [name(CORE, B), name(BACKEND, A)]


@pytest.mark.parametrize("to", ["v20250101-dddddd", "ethixai-backend-00001-nope", "latest"])
def test_a_name_that_nothing_has_is_a_bad_request(to: str) -> None:
    """The field, the name, and what is known."""
    with pytest.raises(BadRequest, match=f"to: '{to}' is no release and no revision of .*; known are {C}, {B}"):
        plan_rollback(both(C, B), to)


def test_a_service_named_twice_is_a_bad_request() -> None:
    """Two targets for one service: nobody may guess."""
    with pytest.raises(BadRequest, match=f"to: {BACKEND} is named twice"):
        plan_rollback(both(C, B, A), f"{name(BACKEND, A)} {name(BACKEND, B)}")


def test_what_serves_already_needs_no_part() -> None:
    """Asking again for what is there moves nobody."""
    assert plan_rollback(both(C, B), C).rollouts == ()


# What the claim of a rollback writes


def lease_of(services: dict[str, ServiceState], to: str = "") -> Lease:
    run = "123e4567-e89b-12d3-a456-426614174000"
    plan = plan_rollback(services, to)
    holder = Holder(flow_run_id=run, now_s=100.0, deadline_s=9e9, requested_at_s=50.0)
    return rollback_lease(plan.version, plan.rollouts, REQUEST, (one.snapshot for one in services.values()), holder)


def after(snapshot: ServiceSnapshot, write: Change | None) -> ServiceSnapshot:
    """The snapshot once ``write`` is served."""
    if write is None:
        return snapshot
    moved = {"split": write.split, "served": write.split} if write.split else {}
    return snapshot.model_copy(update={"annotations": write.record.beside(snapshot.annotations), **moved})


def test_a_rollback_is_decided_from_the_start() -> None:
    """A recovery that finds its lease half-way finishes it in the same direction."""
    lease = lease_of(both(C, B))
    assert (lease.decision, lease.kind, lease.coordinator) == (Decision.REVERT, Kind.ROLLBACK, CORE)
    assert lease.release_id == f"rollback-of-{C}-174000"
    assert lease.reason == "Error rate > 0.5%: reports are empty"


def test_one_write_for_each_service_takes_users_back() -> None:
    """The lead with the decision first; a member is claimed and moved in one update; twice writes once."""
    services = both(C, B)
    lease = lease_of(services)
    coordinator = after(services[CORE].snapshot, change.to_begin_rollback(services[CORE].snapshot, lease))
    participant = after(services[BACKEND].snapshot, change.to_revert(services[BACKEND].snapshot, lease))
    assert (coordinator.split.main, participant.split.main) == (name(CORE, B), name(BACKEND, B))
    assert Record.read(coordinator).lease == lease
    assert Record.read(participant).holder == lease.release_id
    assert change.to_begin_rollback(coordinator, lease) is None
    assert change.to_revert(participant, lease) is None


def test_afterwards_what_serves_is_the_newest_good_release() -> None:
    """What was taken back is good no more; what it went back to says that users returned; the incident stays open."""
    services = both(C, B, A)
    lease = lease_of(services)
    for service in (CORE, BACKEND):
        moved = after(services[service].snapshot, change.to_revert(services[service].snapshot, lease))
        record = Record.read(after(moved, change.to_release_lease(moved, lease, now_s=200.0)))
        assert [one.release for one in record.last_good] == [B, A]
        assert (record.last_good[0].is_return, record.last_good[0].promoted_at_s) == (True, 200.0)
        assert record.holder == ""
        assert record.incidents == ((lease.release_id,) if service == CORE else ())


def test_a_recovery_takes_over_a_service_that_the_rollback_had_not_come_to() -> None:
    """Killed after the lead's write, a rollback is finished for the others too."""
    services = both(C, B)
    lease = lease_of(services)
    newer = lease.model_copy(update={"epoch": 101, "flow_run_id": "ab" * 16})
    untouched = services[BACKEND].snapshot
    taken = after(untouched, change.to_take_over(untouched, newer, lease))
    assert Record.read(taken).holder == lease.release_id
    assert after(taken, change.to_revert(taken, newer)).split.main == name(BACKEND, B)


def test_a_service_that_a_release_holds_is_not_rolled_back_under_it() -> None:
    """The holder is named; the flow takes it over first."""
    services = both(C, B)
    lease = lease_of(services)
    other = lease.model_copy(update={"release_id": "v20251122-dddddd-eeeeee"})
    held = services[CORE].snapshot.model_copy(
        update={"annotations": change.mark(Record(epoch=7), other, CORE).annotations()}
    )
    with pytest.raises(Held, match="v20251122-dddddd-eeeeee"):
        change.to_begin_rollback(held, lease)


def test_a_service_that_moved_since_the_plan_is_not_rolled_back() -> None:
    """What a person has just changed is looked at again first."""
    services = both(C, B, A)
    moved = services[CORE].snapshot.model_copy(update={"split": TrafficSplit.all_to(name(CORE, A))})
    with pytest.raises(Conflict, match="Check its traffic, then start it again"):
        change.to_begin_rollback(moved, lease_of(services))


def test_the_first_release_remembers_what_it_replaced() -> None:
    """So that even the first one can be taken back, though nobody wrote down what was there."""
    record = Record().promoted(good(BACKEND, A), before=f"{BACKEND}-00041-xyz")
    assert [one.name for one in record.last_good] == [A, f"{BACKEND}-00041-xyz"]
    services = team(
        found(BACKEND, *record.last_good, there=(*map(partial(revision, BACKEND), TIMES), _older())),
    )
    (rollout,) = plan_rollback(services).rollouts
    assert rollout.to_revision == f"{BACKEND}-00041-xyz"
    assert rollout.back_to is not None
    assert rollout.back_to.digest == "sha256:41"


def _older() -> Revision:
    return Revision(name=f"{BACKEND}-00041-xyz", image="r/x@sha256:41", is_ready=True, is_active=True)


@pytest.mark.parametrize(
    ("kind", "other", "may"),
    [
        (Kind.HOTFIX, Kind.RELEASE, True),
        (Kind.ROLLBACK, Kind.RELEASE, True),
        (Kind.ROLLBACK, Kind.HOTFIX, True),
        (Kind.HOTFIX, Kind.HOTFIX, False),
        (Kind.ROLLBACK, Kind.ROLLBACK, False),
        (Kind.HOTFIX, Kind.ROLLBACK, False),
        (Kind.RELEASE, Kind.RELEASE, False),
    ],
)
def test_only_what_cannot_wait_takes_over(kind: Kind, other: Kind, may: bool) -> None:
    """A rollback under way is never stopped; a release stops nothing."""
    assert kind.may_take_over(other) is may
