"""Leases and services to start from: each test names only what it is about."""

from collections.abc import Callable
from typing import Any

import pytest

from playbook.incident.decision_matrix import Symptom
from playbook.lease import change
from playbook.lease.change import Change
from playbook.lease.lease import HotfixLease, Kind, Lease, MigrationLease, ReleaseLease, RollbackLease, ServiceRollout
from playbook.lease.record import Record
from playbook.release.promotion import Promotion
from playbook.release.request import HotfixRequest, RollbackRequest
from playbook.release.traffic import ServiceSnapshot, TrafficSplit

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
NOW_S = 1_763_647_200.0
RUN = "00000000-0000-4000-8000-0000001f2e3d"
CLASSES: dict[Kind, type[Lease]] = {
    Kind.RELEASE: ReleaseLease,
    Kind.HOTFIX: HotfixLease,
    Kind.ROLLBACK: RollbackLease,
    Kind.MIGRATION: MigrationLease,
}
REQUESTS: dict[Kind, dict[str, Any]] = {
    Kind.HOTFIX: {"request": HotfixRequest(version="v20251116-hotfix1-abc123", reason="a hole")},
    Kind.ROLLBACK: {
        "request": RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")
    },
}


def a_rollout(service: str, kind: Kind = Kind.RELEASE, /, **fields: Any) -> ServiceRollout:
    """From -old to -new; where users are taken back, from -new to -old."""
    is_back = kind in (Kind.ROLLBACK, Kind.MIGRATION)
    before, after = (f"{service}-new", f"{service}-old") if is_back else (f"{service}-old", f"{service}-new")
    good = Promotion(release="v20251109-0000aa", revision=after, digest="", promoted_at_s=1.0)
    made = {
        "service": service,
        "from_revision": before,
        "to_revision": after,
        "found": TrafficSplit.all_to(before),
        "image": f"repo/{service}@sha256:1",
        "back_to": good if is_back else None,
    }
    return ServiceRollout.model_validate(made | fields)


def a_lease(kind: Kind = Kind.RELEASE, each: dict[str, Any] | None = None, **fields: Any) -> Lease:
    """A lease of two services. ``each``: fields of every rollout."""
    made = {
        "release_id": "v20251116-abc123-1f2e3d",
        "version": "v20251116-abc123",
        "flow_run_id": RUN,
        "epoch": 100,
        "rollouts": tuple(a_rollout(service, kind, **(each or {})) for service in (LEAD, OTHER)),
        "canary_percent": 10,
        "deadline_s": NOW_S + 7200,
    }
    return CLASSES[kind](**made | REQUESTS.get(kind, {}) | fields)


def a_service(service: str = LEAD, split: TrafficSplit | None = None, **fields: Any) -> ServiceSnapshot:
    """A service as it is read, settled; by default it serves -old to all users. ``record``: what we wrote on it."""
    split = split or TrafficSplit.all_to(f"{service}-old")
    record = fields.pop("record", Record())
    made = {
        "service": service,
        "etag": "1",
        "uri": f"https://{service}",
        "split": split,
        "served": split,
        "annotations": record.beside({"team": "ours"}),
        "latest_ready": f"{service}-old",
        "latest_created": f"{service}-old",
    }
    return ServiceSnapshot.model_validate(made | fields)


def held_by(lease: Lease, service: str = LEAD, split: TrafficSplit | None = None, **fields: Any) -> ServiceSnapshot:
    """A service that carries ``lease``."""
    record = change.mark(Record(), lease, service)
    return a_service(service, split or lease.rollout(service).found, record=record, **fields)


def after(snapshot: ServiceSnapshot, write: Change | None) -> ServiceSnapshot:
    """The service once ``write`` was applied."""
    assert write is not None
    split = write.split or snapshot.split
    update: dict[str, Any] = {"split": split, "served": TrafficSplit(percent=split.percent, tags=split.tags)}
    if write.record is not None:
        update["annotations"] = write.record.beside(snapshot.annotations)
    if write.deployment:
        update["latest_created"] = write.deployment.revision
    if write.scaling:
        update["scaling"] = write.scaling
    return snapshot.model_copy(update=update)


def _fixture(made: Callable[..., Any]) -> Any:
    return pytest.fixture(scope="session", name=made.__name__)(lambda: made)


rollout_maker, lease_maker, service_maker, holder, applier = map(
    _fixture, (a_rollout, a_lease, a_service, held_by, after)
)
