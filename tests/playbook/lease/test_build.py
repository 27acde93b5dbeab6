"""Leases as each kind of flow makes them from one read of each service."""

from collections.abc import Callable
from typing import Any

import pytest

from playbook.errors import Refused
from playbook.incident.decision_matrix import Symptom
from playbook.lease.build import Holder, migration_rollout, release_lease, rollback_lease
from playbook.lease.lease import HotfixLease, ReleaseLease
from playbook.lease.record import Mitigation, Record
from playbook.release.plan import Order
from playbook.release.promotion import Promotion
from playbook.release.request import HotfixRequest, Measure, RollbackRequest
from playbook.release.traffic import LATEST, Revision, Scaling, TrafficSplit
from playbook.release.version import Image, Version

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
NOW_S = 1_763_647_200.0
HOLDER = Holder(flow_run_id="00000000-0000-4000-8000-0000001f2e3d", now_s=NOW_S, deadline_s=NOW_S + 7200)
VERSION = Version.parse("v20251116-abc123")
ORDER = Order(
    version=VERSION,
    images={one: Image(repository=f"r/{one}", digest="sha256:1") for one in (LEAD, OTHER)},
    canary_percent=10,
)
HOTFIX = HotfixRequest(version="v20251116-hotfix1-abc123", reason="a hole")
Made = Callable[..., Any]


def test_a_release_takes_each_service_from_what_serves_to_its_own_revision(a_service: Made) -> None:
    """LATEST is noted as asked for, and found as the revision that serves; the epoch is newer than any."""
    latest = a_service(LEAD, TrafficSplit.all_to(LATEST))
    lease = release_lease(ORDER, [latest, a_service(OTHER, record=Record(epoch=2_000_000_000))], HOLDER)
    assert isinstance(lease, ReleaseLease)
    assert (lease.release_id, lease.epoch) == ("v20251116-abc123-1f2e3d", 2_000_000_001)
    lead, other = lease.rollouts
    assert (lead.from_revision, lead.to_revision) == (f"{LEAD}-old", f"{LEAD}-abc123-1f2e3d")
    assert (lead.found, lead.asked) == (TrafficSplit.all_to(f"{LEAD}-old"), TrafficSplit.all_to(LATEST))
    assert (other.asked, other.image) == (None, f"r/{OTHER}@sha256:1")


def test_a_hotfix_carries_its_request(a_service: Made) -> None:
    """Its checks are read from there."""
    lease = release_lease(ORDER, [a_service(LEAD), a_service(OTHER)], HOLDER, HOTFIX)
    assert isinstance(lease, HotfixLease)
    assert lease.request == HOTFIX


@pytest.mark.parametrize(
    ("drift", "takes_template", "drifts", "takes"),
    [
        (None, True, (None, None), (False, False)),
        ({LEAD: ("cpu: 2",), OTHER: ()}, True, (("cpu: 2",), ()), (True, False)),
        ({LEAD: ("cpu: 2",), OTHER: ()}, False, (("cpu: 2",), ()), (False, False)),
        ({OTHER: ("cpu: 2",)}, True, (None, ("cpu: 2",)), (False, True)),
    ],
)
def test_a_release_takes_a_template_only_where_it_differs(
    a_service: Made, drift: Any, takes_template: bool, drifts: tuple[Any, Any], takes: tuple[bool, bool]
) -> None:
    """And only where the policy says so."""
    services = [a_service(LEAD), a_service(OTHER)]
    lease = release_lease(ORDER, services, HOLDER, drift=drift, takes_template=takes_template, untagged=[OTHER])
    assert tuple(one.drift for one in lease.rollouts) == drifts
    assert tuple(one.takes_template for one in lease.rollouts) == takes
    assert tuple(one.has_tags for one in lease.rollouts) == (True, False)


@pytest.mark.parametrize(
    ("override", "reason"), [("", "why"), ("it leaks data", "why (override: it leaks data)")], ids=["plain", "override"]
)
def test_a_rollback_says_why_and_by_which_override(a_lease: Made, override: str, reason: str) -> None:
    """People read it wherever the lease is shown."""
    asked = RollbackRequest(
        symptom=Symptom.ERRORS_ABOVE_MAX, reason="why", requested_by="ada", override_reason=override
    )
    lease = rollback_lease("v1", a_lease().rollouts, asked, [], HOLDER)
    assert lease.reason == f"{Symptom.ERRORS_ABOVE_MAX.value}: {reason}"


GOOD = Promotion(release="v20251109-0000aa", revision=f"{LEAD}-good", digest="", promoted_at_s=1.0)
READY = Revision(name=GOOD.revision, image="r@sha256:good", is_ready=True, is_active=False)


@pytest.mark.parametrize(
    ("revisions", "why"),
    [
        pytest.param([], "does not exist any more", id="it is gone"),
        pytest.param([READY.model_copy(update={"is_ready": False})], "is not ready", id="it is not ready"),
    ],
)
def test_a_service_is_not_closed_for_a_revision_that_cannot_serve(
    a_service: Made, revisions: list[Revision], why: str
) -> None:
    """The revision and its release are named, with the next step."""
    with pytest.raises(Refused, match=rf"{LEAD}-good \(v20251109-0000aa\) {why}\. Name another"):
        migration_rollout(a_service(LEAD), GOOD, revisions)


def test_a_migration_opens_a_service_with_what_is_good(a_service: Made) -> None:
    """From what serves now, as it was found."""
    rollout = migration_rollout(a_service(LEAD, scaling=Scaling(min_instances=2)), GOOD, [READY])
    assert (rollout.from_revision, rollout.to_revision, rollout.back_to) == (f"{LEAD}-old", f"{LEAD}-good", GOOD)
    assert (rollout.image, rollout.before_mitigation) == ("r@sha256:good", None)
    assert rollout.scaling == Scaling(min_instances=2)


def test_a_migration_of_a_mitigated_service_starts_from_before_the_measure(a_service: Made) -> None:
    """The maintenance revision is not what users had; nothing is returned to where that serves already."""
    before = TrafficSplit.all_to(GOOD.revision, {"c-1f2e3d": f"{LEAD}-1f2e3d"})
    measure = Mitigation(
        measure=Measure.READ_ONLY, by="ada", reason="b", at_s=1, split=before, scaling=Scaling(min_instances=4)
    )
    closed = a_service(LEAD, TrafficSplit.all_to(f"{LEAD}-closed"), record=Record(mitigation=measure))
    rollout = migration_rollout(closed, GOOD, [READY])
    assert (rollout.from_revision, rollout.back_to) == (GOOD.revision, None)
    assert (rollout.found.main, rollout.before_mitigation) == (f"{LEAD}-closed", TrafficSplit.all_to(GOOD.revision))
    assert rollout.scaling == Scaling(min_instances=4)
