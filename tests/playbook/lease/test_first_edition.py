"""What the first edition stored on a service is read as a lease of today: it outlives the upgrade."""

import json
from typing import Any

import pytest

from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Decision, Kind
from playbook.lease.record import EPOCH, LEASE, PARTICIPANT, Participant, Record, Unreadable
from playbook.release.traffic import TrafficSplit

OLD, NEW = {"percent": {"core-old": 90, "core-older": 10}}, {"percent": {"core-new": 100}}
CLOSED = {"percent": {"core-closed": 100}}
COMMON: dict[str, Any] = {
    "release_id": "v20251116-abc123-1f2e3d",
    "version": "v20251116-abc123",
    "flow_run_id": "123e4567-e89b-12d3-a456-426614174000",
    "epoch": 7,
    "decision": "REVERT",
    "canary_percent": 10,
    "deadline_s": 1e9,
}
FORWARD = {"service": "core", "canary": "core-new", "stable": OLD, "image": "r@sha256:1"}
BACK = {"service": "core", "canary": "core-new", "stable": OLD, "found": NEW, "image": "r@sha256:1"}
PLAN = {"undo": ["0007_new", "0006_newer_than_good"]}


def read(stored: dict[str, Any]) -> Any:
    """The lease that ``stored`` is read as."""
    record = Record.parse("core", {EPOCH: "7", LEASE: json.dumps(COMMON | stored)})
    assert isinstance(record, Record), record
    return record.lease


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (Kind.RELEASE, {"parts": [FORWARD], "hotfix": None}),
        (Kind.HOTFIX, {"parts": [FORWARD], "hotfix": {"version": "v20251116-hotfix1-abc123", "reason": "a hole"}}),
    ],
)
def test_a_release_goes_from_what_was_found_to_the_canary(kind: Kind, stored: dict[str, Any]) -> None:
    """Its ``stable`` is the split that was found; most users had its main revision."""
    lease = read(stored)
    (rollout,) = lease.rollouts
    assert (lease.kind, lease.decision) == (kind, Decision.REVERT)
    assert (rollout.from_revision, rollout.to_revision) == ("core-old", "core-new")
    assert rollout.found == TrafficSplit.model_validate(OLD)
    if kind is Kind.HOTFIX:
        assert lease.request.reason == "a hole"


@pytest.mark.parametrize(
    ("part", "found"),
    [
        pytest.param(BACK, NEW, id="with the split that was found"),
        pytest.param({key: one for key, one in BACK.items() if key != "found"}, OLD, id="without it, the way back"),
    ],
)
def test_a_rollback_goes_from_the_canary_to_what_is_stable(part: dict[str, Any], found: dict[str, Any]) -> None:
    """Its ``stable`` is what users are taken to."""
    request = {"symptom": Symptom.ERRORS_ABOVE_MAX.value, "reason": "it fails", "requested_by": "ada"}
    lease = read({"parts": [part], "rollback": request})
    (rollout,) = lease.rollouts
    assert (lease.kind, lease.request.reason) == (Kind.ROLLBACK, "it fails")
    assert (rollout.from_revision, rollout.to_revision) == ("core-new", "core-old")
    assert rollout.found == TrafficSplit.model_validate(found)
    assert rollout.before_mitigation is None


def test_a_migration_keeps_what_it_closed_why_it_stopped_and_its_own_notes() -> None:
    """Only what every reader needs stands beside them; the rest is the migration's own."""
    notes = {"plan": PLAN, "declined": True, "rows": 12}
    stored = {"maintenance": {"core": "core-closed"}, "halted": "the database is away"} | notes
    lease = read({"parts": [BACK | {"found": CLOSED, "before": NEW}], "migration": stored})
    assert (lease.kind, lease.migration, lease.is_declined) == (Kind.MIGRATION, "0006_newer_than_good", True)
    assert (lease.maintenance, lease.halted, lease.restarts) == ({"core": "core-closed"}, "the database is away", 0)
    assert lease.details == notes
    (rollout,) = lease.rollouts
    assert (rollout.found, rollout.before_mitigation) == (
        TrafficSplit.model_validate(CLOSED),
        TrafficSplit.model_validate(NEW),
    )


def test_a_service_that_pointed_to_the_lead_points_to_the_coordinator() -> None:
    """Where its users go without one is kept."""
    stored = {"release_id": "r", "epoch": 7, "lead": "core", "stable": NEW}
    record = Record.parse("backend", {EPOCH: "7", PARTICIPANT: json.dumps(stored)})
    split = TrafficSplit.model_validate(NEW)
    assert isinstance(record, Record)
    assert record.participant == Participant(release_id="r", epoch=7, coordinator="core", split=split)


@pytest.mark.parametrize("name", [LEASE, PARTICIPANT])
@pytest.mark.parametrize("stored", ["[]", "null", "3", '"parts"', '["parts"]', '["lead"]', "{}"])
def test_what_is_no_lease_at_all_is_set_aside(name: str, stored: str) -> None:
    """With the form that is expected, and not with an error of the reader's own."""
    record = Record.parse("core", {EPOCH: "7", name: stored})
    assert isinstance(record, Unreadable)
    assert "while reading" not in record.problem
