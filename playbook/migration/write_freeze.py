"""Writes are off while a migration is taken back, and on again afterwards: which update of a service each step is.

`--max-instances=0` does not stop a service (Cloud Run reads it as no limit), so writes are stopped by a revision that
refuses them, or by fixing the number of instances at 0 (docs/deviations.md).
"""

from collections.abc import Mapping

from playbook.analysis.policy import Policy
from playbook.errors import BadRequest, Fenced, OutOfBandChange, Refused, Transient
from playbook.lease import change
from playbook.lease.change import Change, Deployment
from playbook.lease.lease import MITIGATION, Decision, Lease, Promotion, Record, ServiceRollout
from playbook.migration.plan import Migration, MigrationRollback, code_problem
from playbook.release.traffic import CANARY_TAG, Scaling, ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import ServiceState

CLAIM_LIFE_S = 7 * 86_400.0
"""A migration rollback may wait for people: its claim is not anybody's to recover for a week."""


def code_after(found: ServiceState, migrations: tuple[Migration, ...], schema: int, wanted: str) -> Promotion:
    """The release that serves ``found`` once the database has ``schema``.

    ``wanted`` is a release or a revision; empty: the newest good one that can read the schema, so that the code moves
    no further than it must. Raises: BadRequest (it is unknown), Refused (it cannot read the schema, both named).
    """
    known = {good.revision: good for good in found.last_good}
    if wanted:
        named = [good for good in found.last_good if wanted in (good.release, good.revision)]
        if not named:
            told = ", ".join(good.name for good in found.last_good) or "none"
            raise BadRequest([f"to_release: {wanted!r} is no good release of {found.service}; known are {told}"])
        if problem := code_problem(migrations, named[0].release, schema):
            raise Refused(f"{found.service}: {problem} Name another in to_release.")
        return named[0]
    for good in found.last_good:
        if not code_problem(migrations, good.release, schema):
            return good
    serving = found.snapshot.pinned.main
    release = known[serving].release if serving in known else ""
    tried = [code_problem(migrations, good.release, schema) for good in found.last_good]
    told = " ".join(tried) or code_problem(migrations, release, schema)
    raise Refused(f"{found.service}: no good release can read what is left. {told}")


def rollout_for(found: ServiceState, good: Promotion) -> ServiceRollout:
    """The part of the claim that closes one service and opens it again with ``good``."""
    snapshot = found.snapshot
    mitigation = Record.read(snapshot).mitigation
    before = mitigation.split if mitigation else snapshot.pinned
    revision = {one.name: one for one in found.revisions}.get(good.revision)
    if revision is None or not revision.is_ready:
        state = "is not ready" if revision else "does not exist any more"
        raise Refused(f"{found.service}: revision {good.revision} ({good.name}) {state}. Name another in to_release.")
    return ServiceRollout(
        service=found.service,
        stable=TrafficSplit.all_to(good.revision, before.without_tags(CANARY_TAG).tags),
        found=snapshot.pinned.without_tags(CANARY_TAG),
        before=mitigation.split.without_tags(CANARY_TAG) if mitigation else None,
        back_to=None if good.revision == before.main else good,
        canary=before.main,
        image=revision.image,
        scaling=mitigation.scaling if mitigation else snapshot.scaling,
        latest_created=snapshot.latest_created,
    )


def build_migration_lease(
    found: Mapping[str, ServiceState],
    goods: Mapping[str, Promotion],
    migration_rollback: MigrationRollback,
    *,
    flow_run_id: str,
    epoch: int,
    now_s: float,
) -> Lease:
    """The claim that takes a migration back. Its lead is the first service of ``found``."""
    name = migration_rollback.plan.undo[-1]
    return Lease(
        release_id=f"migration-{name}-{flow_run_id.replace('-', '')[-6:]}",
        version=f"migration {name}",
        flow_run_id=flow_run_id,
        epoch=epoch,
        decision=Decision.REVERT,
        rollouts=tuple(rollout_for(one, goods[service]) for service, one in found.items()),
        canary_percent=100,
        requested_by=migration_rollback.request.requested_by,
        reason=migration_rollback.request.reason,
        deadline_s=now_s + CLAIM_LIFE_S,
        requested_at_s=now_s,
        migration=migration_rollback,
    )


def with_migration_rollback(lease: Lease, **changes: object) -> Lease:
    """The same claim, further along."""
    return lease.model_copy(update={"migration": lease.migration_rollback.model_copy(update=changes)})


def going_on(lease: Lease) -> Lease:
    """The same claim, taken up by a run: it is not stopped any more. One that was is started by a person, who has read
    why, and its restarts count anew.
    """
    halted = lease.migration_rollback.halted
    return with_migration_rollback(lease, halted="", seen=halted, restarts=0) if halted else lease


def restarted(lease: Lease) -> Lease:
    """The same claim, which recovery starts again once more."""
    return with_migration_rollback(lease, restarts=lease.migration_rollback.restarts + 1)


def to_hold(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The service carries the claim. One that is in read-only mode already stays so until it is opened.

    Raises: Held, Fenced, as `change.to_acquire`.
    """
    plain = {key: value for key, value in snapshot.annotations.items() if key != MITIGATION}
    change.check_available(snapshot.model_copy(update={"annotations": plain}), lease)
    record = Record.read(snapshot)
    wanted = change.mark(record, lease, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_let_go(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The service is nobody's again, as if the claim had never been: nothing was moved, and nothing became good."""
    record = Record.read(snapshot)
    return Change(record=record.released()) if record.holder == lease.release_id else None


def to_note(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The lead carries the claim as it is now; nobody is moved."""
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_halt(snapshot: ServiceSnapshot, lease: Lease, why: str) -> Change | None:
    """The lead's claim says why it stopped; everything else in it stays as it was written last. Nobody is moved.

    Raises: Fenced (a newer run has it, and is not stopped by this one).
    """
    record = not_newer(snapshot, lease)
    held = record.lease
    if held is None or held.epoch != lease.epoch or held.migration is None or held.migration.halted == why:
        return None
    return Change(record=record.model_copy(update={"lease": with_migration_rollback(held, halted=why)}))


def is_closed(snapshot: ServiceSnapshot, lease: Lease) -> bool:
    """Whether users' writes to the service are off, by what is observed and with nothing under way."""
    closed = lease.migration_rollback.maintenance.get(snapshot.service)
    has_none = snapshot.scaling.manual == 0 and not snapshot.is_reconciling
    return has_none or bool(closed and snapshot.serves(TrafficSplit.all_to(closed)))


def check_closed(snapshot: ServiceSnapshot, lease: Lease) -> None:
    """Users' writes to the service are still off.

    Raises: Interrupted (somebody has turned them on), Transient (a change is under way: look again).
    """
    name, who = snapshot.service, snapshot.last_modifier or "somebody"
    if snapshot.is_reconciling:
        raise Transient(f"{name}: a change by {who} is under way.")
    if not is_closed(snapshot, lease):
        raise OutOfBandChange(
            f"{name} serves {snapshot.served} with {snapshot.scaling}, set by {who} while the data was being changed: "
            "users can write. It is left as it is.",
            service=name,
        )


def not_newer(snapshot: ServiceSnapshot, lease: Lease) -> Record:
    """The record of the lead, which no newer run has. Raises: Fenced."""
    record = Record.read(snapshot)
    if record.epoch > lease.epoch:
        raise Fenced(
            f"{lease.release_id} went on in another run, of epoch {record.epoch}; this one writes nothing more."
        )
    return record


def to_close(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """No user's write reaches the database any more: the maintenance revision answers, or nobody does.

    Tags are dropped in either case: a tag's URL reaches its revision past both.
    """
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    maintenance = lease.migration_rollback.maintenance.get(snapshot.service)
    if maintenance:
        split, scaling = TrafficSplit.all_to(maintenance), None
    else:
        split = TrafficSplit(percent=snapshot.pinned.percent)
        scaling = None if snapshot.scaling.manual == 0 else snapshot.scaling.model_copy(update={"manual": 0})
    is_so = snapshot.split == split and snapshot.serves(split) and scaling is None
    return None if is_so and record == wanted else Change(record=wanted, split=split, scaling=scaling)


def can_introduce(lease: Lease, service: str) -> bool:
    """Whether the code that will serve can answer out of sight. At 0 instances only a revision without traffic does:
    Cloud Run starts one for its tag, and none for a revision that has users.
    """
    rollout = lease.rollout(service)
    return (
        service in lease.migration_rollback.maintenance
        or rollout.found is None
        or rollout.stable.main not in rollout.found.percent
    )


def to_introduce(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The code that will serve answers at its tag's URL, to us alone; users still find the service closed."""
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    rollout = lease.rollout(snapshot.service)
    split = TrafficSplit(percent=snapshot.pinned.percent, tags={CANARY_TAG: rollout.stable.main})
    is_so = snapshot.split == split and record == wanted and CANARY_TAG in snapshot.tag_urls
    return None if is_so else Change(record=wanted, split=split)


def to_repoint(snapshot: ServiceSnapshot, lease: Lease, base: str) -> Change | None:
    """A copy of revision ``base`` runs, tagged and without users: it reads the newest version of its secrets.

    Raises: Transient (it is still starting), as `change.guard`.
    """
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    rollout = lease.rollout(snapshot.service)
    if snapshot.latest_created == rollout.stable.main and snapshot.is_reconciling:
        raise Transient(f"{snapshot.service}: {rollout.stable.main} is still starting.")
    if snapshot.latest_created == rollout.stable.main and snapshot.latest_ready == rollout.stable.main:
        return None
    split = TrafficSplit(percent=snapshot.pinned.percent, tags={CANARY_TAG: rollout.stable.main})
    return Change(
        record=wanted,
        split=split,
        deployment=Deployment(revision=rollout.stable.main, base=base, image=rollout.image),
    )


def repointed(lease: Lease) -> Lease:
    """The same claim, whose services are opened again with copies that read the restored database."""
    suffix = lease.release_id.rsplit("-", 1)[-1]
    copies = {rollout.service: f"{rollout.service}-restored-{suffix}" for rollout in lease.rollouts}
    rollouts = tuple(
        rollout.model_copy(
            update={
                "stable": TrafficSplit.all_to(copies[rollout.service], rollout.stable.tags),
                "canary": copies[rollout.service],
                "back_to": rollout.back_to and rollout.back_to.model_copy(update={"revision": copies[rollout.service]}),
            }
        )
        for rollout in lease.rollouts
    )
    bases = {rollout.service: rollout.stable.main for rollout in lease.rollouts}
    return with_migration_rollback(lease.model_copy(update={"rollouts": rollouts}), bases=bases)


def to_open(snapshot: ServiceSnapshot, lease: Lease, policy: Policy) -> Change | None:
    """Users reach the code that can read the database, with the scaling and the tags that were found.

    A service that was found without any bounds gets the playbook's 3 to 13. A mitigation is over with it.
    """
    record = change.guard(snapshot, lease).model_copy(update={"mitigation": None})
    wanted = change.mark(record, lease, snapshot.service)
    rollout = lease.rollout(snapshot.service)
    scaling = None if snapshot.scaling.manual is None else scaling_after(rollout.scaling, policy)
    is_so = snapshot.split == rollout.stable and snapshot.serves(rollout.stable) and scaling is None
    return (
        None
        if is_so and Record.read(snapshot) == wanted
        else Change(record=wanted, split=rollout.stable, scaling=scaling)
    )


def scaling_after(found: Scaling, policy: Policy) -> Scaling:
    """What was found, or the playbook's own where nothing was (4, scenario 3, step 5)."""
    if found.manual is None and not found.min_instances and not found.max_instances:
        return Scaling(min_instances=policy.scale_min_instances, max_instances=policy.scale_max_instances)
    return found


def declined(lease: Lease, answer: str) -> Lease:
    """The same claim, to which a person said no: its services are opened again exactly as they were found, whoever
    finds it. The data was not touched.

    Where a measure was in force they are as before it: opening a service ends it, and nobody could restore it any more.
    """
    rollouts = tuple(
        rollout.model_copy(update={"stable": rollout.before or rollout.found or rollout.stable, "back_to": None})
        for rollout in lease.rollouts
    )
    return with_migration_rollback(lease.model_copy(update={"rollouts": rollouts}), declined=answer)
