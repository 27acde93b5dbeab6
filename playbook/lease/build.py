"""The leases that each kind of flow acquires, made from one read of each service. Nothing is written here."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import JsonValue

from playbook.base import Frozen
from playbook.errors import Refused
from playbook.lease.lease import (
    Decision,
    HotfixLease,
    Lease,
    MigrationLease,
    ReleaseLease,
    RollbackLease,
    ServiceRollout,
    next_epoch,
)
from playbook.lease.origin import short_id
from playbook.lease.record import Record
from playbook.release.plan import Order, revision_name
from playbook.release.promotion import Promotion
from playbook.release.request import HotfixRequest, RollbackRequest
from playbook.release.traffic import LATEST, Revision, ServiceSnapshot, TrafficSplit
from playbook.release.version import digest_of

MIGRATION_LASTS_S = 7 * 86_400.0
"""A migration rollback may wait for people: recovery does not take over one that lives for a week."""


class Holder(Frozen):
    """Who acquires, when and where: what every lease says of its run. Times are unix seconds."""

    flow_run_id: str
    now_s: float
    deadline_s: float
    place: str = ""
    requested_at_s: float | None = None

    @property
    def short_id(self) -> str:
        """What tells its releases from others' of the same version."""
        return short_id(self.flow_run_id)


def release_lease(
    order: Order,
    snapshots: Iterable[ServiceSnapshot],
    holder: Holder,
    hotfix: HotfixRequest | None = None,
    drift: Mapping[str, tuple[str, ...]] | None = None,
    *,
    takes_template: bool = False,
    untagged: Collection[str] = (),
) -> Lease:
    """The lease that takes ``order`` to its services. Trying a version again is another release.

    ``drift`` says by service how its template differs from what serves; ``takes_template``: that goes along.
    ``untagged``: services whose revisions get no tag.
    """
    found = {snapshot.service: snapshot for snapshot in snapshots}
    release_id = f"{order.version}-{holder.short_id}"
    fields = {
        **_fields(holder, found.values()),
        "release_id": release_id,
        "version": str(order.version),
        "canary_percent": order.canary_percent,
        "requested_by": order.requested_by,
        "overrides": order.overrides,
        "rollouts": tuple(
            ServiceRollout(
                service=service,
                from_revision=found[service].pinned.main,
                to_revision=revision_name(service, order.version, release_id),
                image=str(image),
                drift=(drift or {}).get(service),
                has_tags=service not in untagged,
                takes_template=takes_template and bool(drift and drift.get(service)),
                **_as_found(found[service]),
            )
            for service, image in order.images.items()
        ),
    }
    return ReleaseLease(**fields) if hotfix is None else HotfixLease(request=hotfix, **fields)


def rollback_lease(
    version: str,
    rollouts: tuple[ServiceRollout, ...],
    request: RollbackRequest,
    snapshots: Iterable[ServiceSnapshot],
    holder: Holder,
) -> RollbackLease:
    """The lease that takes ``version`` back. It is decided from the start: recovery finishes it the same way."""
    reason = f"{request.symptom.value}: {request.reason}"
    return RollbackLease(
        **_fields(holder, snapshots),
        release_id=f"rollback-of-{version}-{holder.short_id}",
        version=version,
        decision=Decision.REVERT,
        rollouts=rollouts,
        canary_percent=100,
        requested_by=request.requested_by,
        reason=f"{reason} (override: {request.override_reason})" if request.override_reason else reason,
        request=request,
    )


def migration_lease(
    name: str,
    rollouts: tuple[ServiceRollout, ...],
    snapshots: Iterable[ServiceSnapshot],
    holder: Holder,
    *,
    requested_by: str,
    reason: str,
    maintenance: Mapping[str, str],
    details: Mapping[str, JsonValue],
) -> MigrationLease:
    """The lease that takes migration ``name`` back."""
    return MigrationLease(
        **_fields(holder, snapshots) | {"deadline_s": holder.now_s + MIGRATION_LASTS_S},
        release_id=f"migration-{name}-{holder.short_id}",
        version=f"migration {name}",
        migration=name,
        decision=Decision.REVERT,
        rollouts=rollouts,
        canary_percent=100,
        requested_by=requested_by,
        reason=reason,
        maintenance=dict(maintenance),
        details=dict(details),
    )


def rollback_rollout(snapshot: ServiceSnapshot, good: Promotion, revisions: Iterable[Revision]) -> ServiceRollout:
    """One service that goes back to ``good``, whose revision is among ``revisions``."""
    image = next(one.image for one in revisions if one.name == good.revision)
    return ServiceRollout(
        service=snapshot.service,
        from_revision=snapshot.pinned.main,
        to_revision=good.revision,
        back_to=good.model_copy(update={"digest": digest_of(image), "services": ()}),
        image=image,
        **_as_found(snapshot),
    )


def migration_rollout(snapshot: ServiceSnapshot, good: Promotion, revisions: Iterable[Revision]) -> ServiceRollout:
    """One service that is closed, and opened again with ``good``. Raises Refused where that revision cannot serve."""
    mitigation = Record.read(snapshot).mitigation
    was_serving = (mitigation.split if mitigation else snapshot.pinned).main
    revision = {one.name: one for one in revisions}.get(good.revision)
    if revision is None or not revision.is_ready:
        state = "is not ready" if revision else "does not exist any more"
        raise Refused(
            f"{snapshot.service}: revision {good.revision} ({good.name}) {state}. Name another in to_release."
        )
    fields = _as_found(snapshot)
    if mitigation:
        fields |= {"before_mitigation": mitigation.split.without_canary_tags(), "scaling": mitigation.scaling}
    return ServiceRollout(
        service=snapshot.service,
        from_revision=was_serving,
        to_revision=good.revision,
        back_to=None if good.revision == was_serving else good.model_copy(update={"services": ()}),
        image=revision.image,
        **fields,
    )


def _as_found(snapshot: ServiceSnapshot) -> dict[str, Any]:
    return {
        "found": snapshot.pinned.without_canary_tags(),
        "asked": TrafficSplit(percent=snapshot.split.percent) if LATEST in snapshot.split.percent else None,
        "scaling": snapshot.scaling,
        "latest_created": snapshot.latest_created,
    }


def _fields(holder: Holder, snapshots: Iterable[ServiceSnapshot]) -> dict[str, Any]:
    newest = max((Record.read(snapshot).epoch for snapshot in snapshots), default=0)
    return {
        "flow_run_id": holder.flow_run_id,
        "epoch": next_epoch(newest, holder.now_s),
        "deadline_s": holder.deadline_s,
        "place": holder.place,
        "requested_at_s": holder.requested_at_s,
    }
