"""What a lease says of users' way: shares, bake, where users may be found, and what its watch looks at."""

from collections.abc import Callable
from typing import Any

import pytest

from playbook.analysis.policy import Policy
from playbook.lease.lease import Decision, Kind, Lease, Pause
from playbook.release.traffic import TrafficSplit

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
OLD, NEW, BOTH = "old", "new", "both"
NOW_S = 1_763_647_200.0
Made = Callable[..., Any]


def where(lease: Lease) -> set[str]:
    """The splits in which the coordinator may be found, in words."""
    words = {(f"{LEAD}-old",): OLD, (f"{LEAD}-new",): NEW, (f"{LEAD}-closed",): "closed"}
    return {words.get(tuple(split.percent), BOTH) for split in lease.expected(lease.rollouts[0])}


@pytest.mark.parametrize(
    ("decision", "is_baking", "found"),
    [
        (Decision.DEPLOY, False, {OLD}),
        (Decision.BAKE, False, {OLD, BOTH}),
        (Decision.BAKE, True, {BOTH}),
        (Decision.PROMOTE, False, {OLD, NEW}),
        (Decision.PROMOTE, True, {BOTH, NEW}),
        (Decision.REVERT, True, {OLD, BOTH, NEW}),
    ],
)
def test_users_are_found_on_the_way_that_is_decided(
    a_lease: Made, decision: Decision, is_baking: bool, found: set[str]
) -> None:
    """Any other split was set by another person. A hotfix has no canary on its way."""
    assert where(a_lease(decision=decision, bake_start_s=NOW_S if is_baking else None)) == found


def test_a_migration_may_be_found_closed(a_lease: Made) -> None:
    """Where it has a maintenance revision."""
    assert where(a_lease(Kind.MIGRATION, decision=Decision.REVERT)) == {NEW, OLD}
    closed = a_lease(Kind.MIGRATION, decision=Decision.REVERT, maintenance={LEAD: f"{LEAD}-closed"})
    assert where(closed) == {NEW, OLD, "closed"}


def test_a_declined_migration_opens_services_as_they_were_before_the_measure(a_lease: Made) -> None:
    """Else they get the code that can read the data, with the tags that were found."""
    closed = TrafficSplit.all_to(f"{LEAD}-closed", {"theirs": f"{LEAD}-old"})
    before = TrafficSplit.all_to(f"{LEAD}-new")
    for is_declined, mitigated, split in (
        (True, before, before),
        (True, None, closed),
        (False, None, TrafficSplit.all_to(f"{LEAD}-old", closed.tags)),
    ):
        lease = a_lease(Kind.MIGRATION, {"found": closed, "before_mitigation": mitigated}, is_declined=is_declined)
        assert lease.fallback(lease.rollouts[0]) == split


@pytest.mark.parametrize("kind", Kind)
def test_only_a_release_has_a_canary(a_lease: Made, kind: Kind) -> None:
    """The other kinds move all users at once."""
    assert a_lease(kind).has_canary is (kind is Kind.RELEASE)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("decision", [Decision.PROMOTE, Decision.REVERT])
def test_a_watch_looks_at_what_users_are_on_now(a_lease: Made, kind: Kind, decision: Decision) -> None:
    """After a promotion that is the new revision; what was taken back is watched on the one that users are back on."""
    lease = a_lease(kind, decision=decision)
    (rollout, _) = lease.watched().rollouts
    assert lease.is_back is (decision is Decision.REVERT)
    if decision is Decision.PROMOTE:
        assert rollout == lease.rollouts[0]
        return
    assert (rollout.from_revision, rollout.to_revision) == (f"{LEAD}-new", f"{LEAD}-old")
    assert rollout.found == TrafficSplit.all_to(f"{LEAD}-new")


def test_a_watch_of_a_rollback_keeps_the_split_that_was_found(a_lease: Made) -> None:
    """Users may have left more than one revision."""
    found = TrafficSplit(percent={f"{LEAD}-new": 60, f"{LEAD}-newer": 40})
    assert a_lease(Kind.ROLLBACK, {"found": found}, decision=Decision.REVERT).watched().rollouts[0].found == found


def test_the_forecast_gives_a_service_its_own_share_where_it_needs_one(a_lease: Made) -> None:
    """The least of them is the lease's; what it says nothing of keeps the policy's."""
    lease = a_lease().planned({OTHER: 25}, 1200.0)
    assert (lease.canary_percent, [one.canary_percent for one in lease.rollouts]) == (10, [None, 25])
    assert (lease.shares, lease.bake_s) == ((10, 25), 1200.0)
    assert a_lease().planned({LEAD: 20, OTHER: 20}, 1.0).shares == (20,)


def test_a_larger_share_is_every_canarys_and_the_earlier_ones_are_remembered(a_lease: Made) -> None:
    """Users of a service that has not been moved yet are still found at its earlier share."""
    lease = a_lease().planned({OTHER: 25}, 1.0).with_canary_at(40)
    assert (lease.shares, lease.earlier_percents) == ((40,), (10, 25))
    baking = lease.decided(Decision.BAKE).baking_from(NOW_S)
    shares = [split.percent[f"{OTHER}-new"] for split in baking.expected(baking.rollout(OTHER))]
    assert shares == [10, 25, 40]


POLICY = Policy(bake_s=600)


def test_the_bake_is_the_forecasts_and_as_long_as_people_have_made_it(a_lease: Made) -> None:
    """Without a forecast it is the policy's."""
    assert a_lease().policy(POLICY) == POLICY
    assert a_lease(bake_s=900).policy(POLICY) == POLICY.planned(900)
    assert a_lease(bake_s=900, extensions_s=(60, 30)).policy(POLICY).bake_s == 990


def test_a_bake_that_is_extended_ends_when_the_person_said(a_lease: Made) -> None:
    """Counted from its start; it never becomes shorter, and one that has not begun is as long as it was."""
    baking = a_lease().baking_from(NOW_S)
    assert baking.extended_until(NOW_S + 700, POLICY).extensions_s == (100,)
    assert baking.extended_until(NOW_S + 500, POLICY).extensions_s == (0,)
    assert a_lease().extended_until(NOW_S, POLICY).extensions_s == (0,)


def test_a_person_has_the_whole_time_to_answer_once(a_lease: Made) -> None:
    """Asked again by another process, the deadline stays; after an answer, it is set anew."""
    asked = a_lease().gated(NOW_S, 900)
    assert asked.gated(NOW_S + 600, 900).gate_deadline_s == NOW_S + 900
    assert asked.reopened().gated(NOW_S + 600, 900).gate_deadline_s == NOW_S + 1500


def test_where_a_release_stood_is_remembered_when_it_is_first_taken_back(a_lease: Made) -> None:
    """Deciding it again does not change how far users had come."""
    back = a_lease().decided(Decision.PROMOTE).decided(Decision.REVERT, "errors")
    assert (back.came_to, back.decided(Decision.REVERT, "again").came_to) == (Decision.PROMOTE, Decision.PROMOTE)
    assert a_lease().decided(Decision.BAKE).came_to is None


def test_a_lease_belongs_to_its_run_and_to_the_one_that_was_paused(a_lease: Made) -> None:
    """Either may go on with it."""
    lease = a_lease()
    assert lease.runs == (lease.flow_run_id,)
    assert lease.paused(Pause(flow_run_id="paused", until_s=1)).runs == (lease.flow_run_id, "paused")


NO_LEASES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a revision that is no name": ({"to_revision": "x; rm -rf /"}, {}, "is no name of a service or revision"),
    "a revision in a split": ({"found": TrafficSplit.all_to("A B")}, {}, "is no name of a service or revision"),
    "a tag's revision": ({"found": TrafficSplit.all_to("a", {"t": "A B"})}, {}, "is no name of a service or revision"),
    "the split before a measure": (
        {"before_mitigation": TrafficSplit.all_to("A B")},
        {},
        "is no name of a service or revision",
    ),
    "a service twice": ({"service": "backend"}, {}, "a service is named twice"),
    "a place with another command": ({}, {"place": "--project=p --region=r; ls"}, "place is not gcloud's flags"),
    "an image that is none": ({"image": "a b"}, {}, "an image is no name of an image"),
    "a run that is none": ({}, {"flow_run_id": "1"}, "flow_run_id is no UUID"),
}


@pytest.mark.parametrize(("each", "fields", "says"), NO_LEASES.values(), ids=NO_LEASES)
def test_what_cannot_be_a_lease_of_ours_is_said(
    a_lease: Made, each: dict[str, Any], fields: dict[str, Any], says: str
) -> None:
    """Other people may write annotations; a name in a command must be a name."""
    (problem,) = a_lease(each=each, **fields).problems()
    assert says in problem
    assert a_lease(place="--project=p-1 --region=us-east1").problems() == a_lease().problems() == []
