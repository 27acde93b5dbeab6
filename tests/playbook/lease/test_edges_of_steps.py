"""Each step at its edges: what it writes when little is left to do, and what it leaves alone."""

from collections.abc import Callable
from typing import Any

import pytest

from playbook.errors import Conflict, Fenced, OutOfBandChange, Refused, StillStarting
from playbook.lease import change
from playbook.lease.halted import is_closed, not_newer
from playbook.lease.lease import Decision, Kind, Lease
from playbook.lease.record import Mitigation, Participant, Record
from playbook.lease.settled import check_settled
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from playbook.release.traffic import LATEST, PREVIOUS_TAG, Scaling, TrafficSplit

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
OLD, NEW = TrafficSplit.all_to(f"{LEAD}-old"), TrafficSplit.all_to(f"{LEAD}-new")
NOW_S = 1_763_647_200.0
Made = Callable[..., Any]


@pytest.mark.parametrize("kind", Kind)
def test_only_a_rollback_takes_its_coordinator_alone_first(a_lease: Made, kind: Kind) -> None:
    """Its other services are taken in the update that moves their users."""
    first = change.acquired_first(a_lease(kind))
    assert first == ((LEAD,) if kind is Kind.ROLLBACK else (LEAD, OTHER))


def mitigation(**fields: Any) -> Mitigation:
    made = {"measure": Measure.READ_ONLY, "by": "ada", "reason": "a flood", "at_s": 1, "split": OLD}
    return Mitigation.model_validate(made | {"scaling": Scaling()} | fields)


def test_a_migration_rollback_takes_a_service_as_it_is(a_lease: Made, a_service: Made, after: Made) -> None:
    """Also one with a measure in force, which stays; taking it twice writes once."""
    lease = a_lease(Kind.MIGRATION)
    found = a_service(LEAD, NEW, record=Record(mitigation=mitigation()))
    write = change.to_acquire(found, lease)
    assert (write.split, write.scaling, write.record.lease) == (None, None, lease)
    assert write.record.mitigation == mitigation()
    assert change.to_acquire(after(found, write), lease) is None
    with pytest.raises(Fenced):
        change.to_acquire(a_service(LEAD, NEW, record=Record(epoch=101)), lease)


def asked_for_latest(lease: Lease) -> Lease:
    """The lease that found LATEST asked for on every service."""
    asked = TrafficSplit.all_to(LATEST)
    rollouts = tuple(one.model_copy(update={"asked": asked}) for one in lease.rollouts)
    return lease.model_copy(update={"rollouts": rollouts})


def test_what_was_acquired_is_given_back_as_it_was_found(a_lease: Made, held_by: Made) -> None:
    """LATEST where that was asked for; a split is sent only where it changes; the mark always goes."""
    lease = a_lease()
    assert change.to_undo_acquire(held_by(lease, latest_created="x"), lease).split is None
    write = change.to_undo_acquire(held_by(lease), asked_for_latest(lease))
    assert (write.split, write.record) == (TrafficSplit.all_to(LATEST), Record(epoch=100))


def test_what_was_acquired_by_a_rollback_goes_back_to_what_it_found(a_lease: Made, held_by: Made) -> None:
    """Its users were moved in the update that acquired; a split that another person has set since stays."""
    lease = a_lease(Kind.ROLLBACK, decision=Decision.REVERT)
    assert change.to_undo_acquire(held_by(lease, split=OLD), lease).split == NEW
    theirs = change.to_undo_acquire(held_by(lease, split=TrafficSplit.all_to("theirs")), lease)
    assert (theirs.split, theirs.record.holder) == (None, "")


def test_what_is_not_held_any_more_is_not_given_back(a_lease: Made, a_service: Made, held_by: Made) -> None:
    """A newer run has it, another release has it, or it is free."""
    lease = a_lease()
    assert change.to_undo_acquire(a_service(record=Record(epoch=100)), lease) is None
    with pytest.raises(Fenced):
        change.to_undo_acquire(a_service(record=Record(epoch=101)), lease)
    another = a_lease(release_id="v20251116-abc123-999999", epoch=99)
    assert change.to_undo_acquire(held_by(another), lease) is None


def test_more_instances_are_written_with_the_lease_once(a_lease: Made, held_by: Made, after: Made) -> None:
    """A service that has enough is not written, unless the lease has something new to say."""
    lease = a_lease()
    found = held_by(lease, scaling=Scaling(min_instances=1, max_instances=9))
    write = change.to_scale(found, lease, 5)
    assert write.scaling == Scaling(min_instances=5, max_instances=9)
    scaled = after(found, write)
    assert change.to_scale(scaled, lease, 5) is None
    noted = lease.scaled(LEAD, NOW_S)
    assert change.to_scale(scaled, noted, 5).record.lease == noted


def test_what_the_coordinator_carries_is_brought_up_to_date_without_moving_a_user(a_lease: Made, held_by: Made) -> None:
    """Nothing is written where it says so already."""
    lease = a_lease()
    assert change.to_record(held_by(lease), lease) is None
    baking = lease.decided(Decision.BAKE)
    assert change.to_record(held_by(lease), baking) == change.Change(record=Record(epoch=100, lease=baking))


def test_an_incident_is_remembered_once(a_service: Made, after: Made) -> None:
    """The newest stands last, and the oldest goes when there are more than ten."""
    found = a_service()
    for n in (*range(11), 3):
        write = change.to_note_incident(found, f"incident-{n}")
        found = after(found, write) if write else found
        assert change.to_note_incident(found, f"incident-{n}") is None
    assert Record.read(found).incidents == tuple(f"incident-{n}" for n in range(1, 11))
    again = Record(incidents=("a", "b")).alarmed("a")
    assert again.incidents == ("b", "a")


def _good(version: str, revision: str) -> Promotion:
    return Promotion(release=version, revision=revision, digest="", promoted_at_s=1)


WATCHED = TrafficSplit.all_to(f"{LEAD}-new", {PREVIOUS_TAG: f"{LEAD}-old"})
GOODS = (_good("v2", f"{LEAD}-new"), _good("v1", f"{LEAD}-old"))
NOT_ITS_OWN: dict[str, dict[str, Any]] = {
    "nothing is written down": {"record": Record()},
    "another release came since": {"record": Record(last_good=GOODS[::-1])},
    "another release holds it": {
        "record": Record(
            last_good=GOODS,
            epoch=1,
            participant=Participant(release_id="v3-1", epoch=1, coordinator="c", split=OLD),
        )
    },
    "there is no tag": {"split": NEW, "record": Record(last_good=GOODS)},
}


@pytest.mark.parametrize("fields", NOT_ITS_OWN.values(), ids=NOT_ITS_OWN)
def test_the_end_of_a_watch_takes_only_its_own_tag(a_service: Made, fields: dict[str, Any]) -> None:
    """The tag may be another release's by then."""
    assert change.to_end_watch(a_service(**{"split": WATCHED} | fields), "v2") is None


def test_the_end_of_a_watch_lets_the_revision_before_go(a_service: Made) -> None:
    """Users stay, and so does what is written down."""
    write = change.to_end_watch(a_service(split=WATCHED, record=Record(last_good=GOODS)), "v2")
    assert (write.split, write.record) == (NEW, Record(last_good=GOODS))


def test_a_new_revision_that_is_still_starting_is_asked_for_once(a_lease: Made, held_by: Made, after: Made) -> None:
    """It is waited for; then nothing is left to do."""
    lease = a_lease()
    write = change.to_deploy(held_by(lease), lease, {"A": "1"})
    made = write.deployment
    assert (made.revision, made.base, made.image) == (f"{LEAD}-new", f"{LEAD}-old", f"repo/{LEAD}@sha256:1")
    assert (made.environment, made.takes_template) == ({"A": "1"}, False)
    deployed = after(held_by(lease), write)
    with pytest.raises(StillStarting):
        change.to_deploy(deployed.model_copy(update={"is_reconciling": True}), lease, {})
    assert change.to_deploy(deployed, lease, {}) is None


@pytest.mark.parametrize(
    ("drift", "takes_template", "planned"),
    [
        pytest.param(None, False, None, id="not known, as an earlier version planned it: it may be any"),
        pytest.param((), False, (), id="none: none may come meanwhile"),
        pytest.param(("cpu",), False, None, id="left behind: what it is does not matter"),
        pytest.param(("cpu",), True, ("cpu",), id="taken: what was planned on, and nothing else"),
    ],
)
def test_the_template_is_what_was_planned_on(
    a_lease: Made, held_by: Made, drift: tuple[str, ...] | None, takes_template: bool, planned: tuple[str, ...] | None
) -> None:
    """A person may change it between plan and deployment."""
    lease = a_lease(each={"drift": drift, "takes_template": takes_template})
    made = change.to_deploy(held_by(lease), lease, {}).deployment
    assert (made.planned, made.takes_template) == (planned, takes_template)


@pytest.mark.parametrize("has_tags", [True, False])
def test_a_service_without_tags_is_baked_and_promoted_without(a_lease: Made, held_by: Made, has_tags: bool) -> None:
    """A long name leaves no room for one."""
    lease = a_lease(each={"has_tags": has_tags}).decided(Decision.BAKE).baking_from(NOW_S)
    split = lease.rollouts[0].found.with_canary(f"{LEAD}-new", 10)
    baked = change.to_bake(held_by(lease, split=split), lease)
    assert (baked.split.tags if baked else {}) == ({"c-1f2e3d": f"{LEAD}-new"} if has_tags else {})
    promoting = lease.decided(Decision.PROMOTE)
    tags = change.to_promote(held_by(promoting, split=split), promoting).split.tags
    assert tags == ({"c-1f2e3d": f"{LEAD}-new", PREVIOUS_TAG: f"{LEAD}-old"} if has_tags else {})


BEFORE = TrafficSplit.all_to(f"{LEAD}-old", {PREVIOUS_TAG: f"{LEAD}-older"})


@pytest.mark.parametrize("stands", [True, False])
def test_a_revert_gives_the_tag_of_the_release_before_back_where_it_stands(
    a_lease: Made, held_by: Made, stands: bool
) -> None:
    """A promotion had moved it; one that was taken off meanwhile does not come back."""
    lease = a_lease(each={"found": BEFORE}).decided(Decision.PROMOTE).decided(Decision.REVERT)
    now = TrafficSplit.all_to(f"{LEAD}-new", {PREVIOUS_TAG: f"{LEAD}-old"} if stands else {})
    write = change.to_revert(held_by(lease, split=now), lease)
    assert write.split == TrafficSplit.all_to(f"{LEAD}-old", {PREVIOUS_TAG: f"{LEAD}-older"} if stands else {})


def test_a_revert_writes_no_scaling_that_stands(a_lease: Made, held_by: Made) -> None:
    """It was given instances, and has what it had before: the mark alone is missing, or nothing is."""
    scaling = Scaling(min_instances=2)
    lease = a_lease(each={"scaling": scaling}).scaled(LEAD, NOW_S).decided(Decision.REVERT)
    assert change.to_revert(held_by(lease, scaling=scaling), lease) is None
    given = held_by(lease, scaling=Scaling(min_instances=5))
    assert change.to_revert(given, lease).scaling == scaling


def test_letting_go_closes_incidents_where_it_went_well_and_opens_one_where_not(a_lease: Made, held_by: Made) -> None:
    """The incident of a release that was taken back stands on its coordinator alone."""
    open_before = Record(incidents=("an-incident",))
    good, bad = a_lease().decided(Decision.PROMOTE), a_lease().decided(Decision.REVERT)

    def left(lease: Lease, service: str, split: TrafficSplit) -> tuple[str, ...]:
        found = held_by(lease, service, split)
        marked = change.mark(open_before, lease, service).beside(found.annotations)
        write = change.to_release_lease(found.model_copy(update={"annotations": marked}), lease, NOW_S)
        assert write is not None
        return write.record.incidents

    assert left(good, LEAD, NEW) == ()
    assert left(bad, LEAD, OLD) == ("an-incident", bad.release_id)
    assert left(bad, OTHER, TrafficSplit.all_to(f"{OTHER}-old")) == ("an-incident",)


@pytest.mark.parametrize("kind", [Kind.ROLLBACK, Kind.MIGRATION])
def test_what_users_were_taken_back_to_is_the_newest_good_release(a_lease: Made, held_by: Made, kind: Kind) -> None:
    """It is written down as a return; where it does not serve, nothing is."""
    lease = a_lease(kind, decision=Decision.REVERT)
    back = change.to_release_lease(held_by(lease, split=OLD), lease, NOW_S).record.last_good
    assert [(one.release, one.is_return, one.promoted_at_s) for one in back] == [("v20251109-0000aa", True, NOW_S)]
    assert change.to_release_lease(held_by(lease, split=NEW), lease, NOW_S).record.last_good == ()


GIVEN_BACK: dict[str, tuple[dict[str, Any], TrafficSplit | None]] = {
    "nothing was deployed": ({}, TrafficSplit.all_to(LATEST)),
    "the canary was deployed": ({"latest_created": f"{LEAD}-new"}, None),
    "a newer revision became ready: LATEST would move users": ({"latest_ready": "theirs"}, None),
    "users are elsewhere": ({"split": NEW}, None),
}


@pytest.mark.parametrize(("fields", "split"), GIVEN_BACK.values(), ids=GIVEN_BACK)
def test_latest_is_given_back_only_where_that_moves_no_user(
    a_lease: Made, held_by: Made, fields: dict[str, Any], split: TrafficSplit | None
) -> None:
    """Later it would mean the newest ready revision."""
    lease = asked_for_latest(a_lease()).decided(Decision.REVERT)
    assert change.latest_given_back(held_by(lease, **fields), lease) == split
    assert change.latest_given_back(held_by(lease), a_lease()) is None


def test_a_take_over_leaves_alone_what_ended_or_went_on(a_lease: Made, a_service: Made, held_by: Made) -> None:
    """Only the coordinator says that a release has ended; another service had let go, or was not come to."""
    found = a_lease()
    ours = found.decided(Decision.REVERT).model_copy(update={"epoch": 103, "flow_run_id": "ab" * 16})
    with pytest.raises(Fenced, match="taken over or ended meanwhile"):
        change.to_take_over(a_service(LEAD, record=Record(epoch=100)), ours, found)
    let_go = a_service(OTHER, record=Record(epoch=100))
    assert change.to_take_over(let_go, ours, found).record.epoch == 103
    between = change.mark(Record(), found.model_copy(update={"epoch": 102}), OTHER)
    with pytest.raises(Fenced, match="taken over or ended meanwhile"):
        change.to_take_over(a_service(OTHER, record=between), ours, found)


def test_one_of_two_that_took_over_in_the_same_second_stops(a_lease: Made, held_by: Made) -> None:
    """The first to write has it; the other one writes nothing."""
    first = a_lease(flow_run_id="cd" * 16)
    with pytest.raises(Fenced):
        change.to_record(held_by(first), a_lease())


def test_another_release_on_a_service_is_no_step_of_ours(a_lease: Made, a_service: Made, held_by: Made) -> None:
    """Its lease is not overwritten, however old its epoch is; a service that ours has not come to is."""
    another = a_lease(release_id="v20251115-fffff1-aaaaaa", epoch=99)
    with pytest.raises(OutOfBandChange, match="taken off it"):
        change.to_record(held_by(another), a_lease())
    assert change.to_record(a_service(record=Record(epoch=99)), a_lease()) is not None


def test_a_rollback_begins_only_where_users_are_as_planned(a_lease: Made, a_service: Made, held_by: Made) -> None:
    """Once it holds the service, it goes on wherever its users are on its way."""
    lease = a_lease(Kind.ROLLBACK, decision=Decision.REVERT)
    with pytest.raises(Conflict, match="Check its traffic"):
        change.to_acquire(a_service(LEAD, OLD), lease)
    assert change.to_acquire(a_service(LEAD, NEW), lease).split == OLD
    assert change.to_acquire(held_by(lease, split=NEW), lease).split == OLD


def test_a_retry_goes_on_while_it_holds_the_service(a_lease: Made, a_service: Made) -> None:
    """Only one that was let go has been taken back."""
    lease = a_lease()
    with pytest.raises(Refused, match="retry of it"):
        change.check_available(a_service(record=Record(incidents=(lease.release_id,))), lease)
    assert change.check_available(a_service(record=Record(incidents=("other",))), lease)


def test_a_service_is_settled_where_its_users_are_as_decided(a_lease: Made, a_service: Made) -> None:
    """Narrower than a step's guard: no split on the way counts."""
    promoted = a_lease().decided(Decision.PROMOTE)
    check_settled(a_service(split=NEW, record=Record(epoch=100)), promoted)
    with pytest.raises(OutOfBandChange, match="set by ada after"):
        check_settled(a_service(split=OLD, last_modifier="ada"), promoted)
    with pytest.raises(OutOfBandChange, match="set by another person after"):
        check_settled(a_service(split=OLD), promoted)
    with pytest.raises(Fenced):
        check_settled(a_service(split=NEW, record=Record(epoch=101)), promoted)


MAINTENANCE = TrafficSplit.all_to(f"{LEAD}-closed")
CLOSED: dict[str, tuple[dict[str, Any], bool]] = {
    "its maintenance revision serves": ({"split": MAINTENANCE}, True),
    "it has no instance": ({"scaling": Scaling(manual=0)}, True),
    "its instances are being stopped": ({"scaling": Scaling(manual=0), "is_reconciling": True}, False),
    "it has one instance": ({"scaling": Scaling(manual=1)}, False),
    "it serves as before": ({}, False),
    "its maintenance revision is not served yet": ({"split": MAINTENANCE, "served": OLD}, False),
}


@pytest.mark.parametrize(("fields", "closed"), CLOSED.values(), ids=CLOSED)
def test_writes_are_off_by_what_is_observed(
    a_lease: Made, a_service: Made, fields: dict[str, Any], closed: bool
) -> None:
    """A service without a maintenance revision is closed only without instances."""
    lease = a_lease(Kind.MIGRATION, maintenance={LEAD: f"{LEAD}-closed"})
    assert is_closed(a_service(**fields), lease) is closed
    assert is_closed(a_service(**fields), a_lease(Kind.MIGRATION)) is ("scaling" in fields and closed)


@pytest.mark.parametrize("epoch", [99, 100])
def test_a_migration_rollback_that_stopped_writes_unless_a_newer_run_went_on(
    a_lease: Made, a_service: Made, epoch: int
) -> None:
    """It says which."""
    assert not_newer(a_service(record=Record(epoch=epoch)), a_lease(Kind.MIGRATION)) == Record(epoch=epoch)
    with pytest.raises(Fenced, match="of epoch 101"):
        not_newer(a_service(record=Record(epoch=101)), a_lease(Kind.MIGRATION))
