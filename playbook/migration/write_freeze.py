"""Writes are off while a migration is taken back, and on again afterwards: which update of a service each step is.

`--max-instances=0` does not stop a service (Cloud Run reads it as no limit), so writes are stopped by a revision that
refuses them, or by fixing the number of instances at 0 (docs/deviations.md).
"""

from playbook.analysis.policy import Policy
from playbook.errors import BadRequest, OutOfBandChange, Refused, Transient
from playbook.lease import change
from playbook.lease.change import Change, Deployment
from playbook.lease.halted import is_closed, not_newer
from playbook.lease.lease import MigrationLease, ServiceRollout
from playbook.lease.record import Record
from playbook.migration.plan import Migration, code_problem
from playbook.migration.progress import progress_of, with_progress
from playbook.release.plan import name_of_try
from playbook.release.promotion import Promotion
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import ServiceState


def code_after(found: ServiceState, migrations: tuple[Migration, ...], schema: int, wanted: str) -> Promotion:
    """The release that serves ``found`` once the database has ``schema``.

    ``wanted`` is a release or a revision; empty: the newest good one that can read the schema, so that the code moves
    no further than it must. Raises: BadRequest (it is unknown), Refused (it cannot read the schema, both named).
    """
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
    tried = [code_problem(migrations, good.release, schema) for good in found.last_good]
    told = " ".join(tried) or code_problem(migrations, "", schema)
    raise Refused(f"{found.service}: no good release can read what is left. {told}")


def to_halt(snapshot: ServiceSnapshot, lease: MigrationLease, why: str) -> Change | None:
    """The coordinator's lease says why it stopped; the rest of it stays as it was written last. No user is moved.

    Raises: Fenced (a newer run has it, and is not stopped by this one).
    """
    record = not_newer(snapshot, lease)
    held = record.lease
    if not isinstance(held, MigrationLease) or held.epoch != lease.epoch or held.halted == why:
        return None
    return Change(record=record.model_copy(update={"lease": held.model_copy(update={"halted": why})}))


def check_closed(snapshot: ServiceSnapshot, lease: MigrationLease) -> None:
    """Users' writes to the service are still off.

    Raises: OutOfBandChange (another person has turned them on), Transient (a change is under way: look again).
    """
    name, who = snapshot.service, snapshot.last_modifier or "another person"
    if snapshot.is_reconciling:
        raise Transient(f"{name}: a change by {who} is under way.")
    if not is_closed(snapshot, lease):
        raise OutOfBandChange(
            f"{name} serves {snapshot.served} with {snapshot.scaling}, set by {who} while the data was being changed: "
            "users can write. It is left as it is.",
            service=name,
        )


def to_close(snapshot: ServiceSnapshot, lease: MigrationLease) -> Change | None:
    """No user's write reaches the database any more: the maintenance revision answers, or no instance does.

    Tags are dropped in either case: a tag's URL reaches its revision past both.
    """
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    maintenance = lease.maintenance.get(snapshot.service)
    if maintenance:
        split, scaling = TrafficSplit.all_to(maintenance), None
    else:
        split = TrafficSplit(percent=snapshot.pinned.percent)
        scaling = None if snapshot.scaling.manual == 0 else snapshot.scaling.model_copy(update={"manual": 0})
    is_so = snapshot.split == split and snapshot.serves(split) and scaling is None
    return None if is_so and record == wanted else Change(record=wanted, split=split, scaling=scaling)


def can_introduce(lease: MigrationLease, service: str) -> bool:
    """Whether the code that will serve can answer out of sight. At 0 instances only a revision without traffic does:
    Cloud Run starts one for its tag, and none for a revision that has users.
    """
    rollout = lease.rollout(service)
    return service in lease.maintenance or lease.target(rollout).main not in rollout.found.percent


def to_introduce(snapshot: ServiceSnapshot, lease: MigrationLease) -> Change | None:
    """The code that will serve answers at its tag's URL, to us alone; users still find the service closed."""
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    rollout = lease.rollout(snapshot.service)
    split = TrafficSplit(percent=snapshot.pinned.percent, tags={lease.tag: rollout.to_revision})
    is_so = snapshot.split == split and record == wanted and lease.tag in snapshot.tag_urls
    return None if is_so else Change(record=wanted, split=split)


def to_repoint(snapshot: ServiceSnapshot, lease: MigrationLease, base: str) -> Change | None:
    """A copy of revision ``base`` runs, tagged and without users: it reads the newest version of its secrets.

    Raises: Transient (it is still starting), as `change.guard`.
    """
    record = change.guard(snapshot, lease)
    wanted = change.mark(record, lease, snapshot.service)
    rollout = lease.rollout(snapshot.service)
    if snapshot.latest_created == rollout.to_revision and snapshot.is_under_way:
        raise Transient(f"{snapshot.service}: {rollout.to_revision} is still starting.")
    if snapshot.latest_created == rollout.to_revision and snapshot.latest_ready == rollout.to_revision:
        return None
    split = TrafficSplit(percent=snapshot.pinned.percent, tags={lease.tag: rollout.to_revision})
    return Change(
        record=wanted,
        split=split,
        deployment=Deployment(revision=rollout.to_revision, base=base, image=rollout.image),
    )


def repointed(lease: MigrationLease) -> MigrationLease:
    """The same lease, whose services are opened again with copies that read the restored database."""
    bases = {rollout.service: rollout.to_revision for rollout in lease.rollouts}
    rollouts = tuple(
        _copied(rollout, name_of_try(rollout.service, "restored", lease.release_id)) for rollout in lease.rollouts
    )
    return with_progress(lease.model_copy(update={"rollouts": rollouts}), bases=bases)


def _copied(rollout: ServiceRollout, copy: str) -> ServiceRollout:
    back_to = rollout.back_to and rollout.back_to.model_copy(update={"revision": copy})
    return rollout.model_copy(update={"to_revision": copy, "back_to": back_to})


def to_end(snapshot: ServiceSnapshot, lease: MigrationLease, now_s: float) -> Change | None:
    """The service is held by nothing any more; a good release that runs in a copy now is written down so.

    Raises: as `change.to_release_lease`.
    """
    if base := progress_of(lease).bases.get(snapshot.service):
        record = Record.read(snapshot).copied(base, lease.rollout(snapshot.service).to_revision)
        snapshot = snapshot.model_copy(update={"annotations": record.beside(snapshot.annotations)})
    return change.to_release_lease(snapshot, lease, now_s)


def to_open(snapshot: ServiceSnapshot, lease: MigrationLease, policy: Policy) -> Change | None:
    """Users reach the code that can read the database, with the scaling and the tags that were found.

    A service that was found without any bounds gets the playbook's 3 to 13. A mitigation is over with it.
    """
    record = change.guard(snapshot, lease).model_copy(update={"mitigation": None})
    wanted = change.mark(record, lease, snapshot.service)
    rollout = lease.rollout(snapshot.service)
    scaling = None if snapshot.scaling.manual is None else scaling_after(rollout.scaling, policy)
    target = lease.target(rollout)
    is_so = snapshot.split == target and snapshot.serves(target) and scaling is None
    is_recorded = Record.read(snapshot) == wanted
    return None if is_so and is_recorded else Change(record=wanted, split=target, scaling=scaling)


def scaling_after(found: Scaling, policy: Policy) -> Scaling:
    """What was found, or the playbook's own where nothing was (4, scenario 3, step 5)."""
    if found.manual is None and not found.min_instances and not found.max_instances:
        return Scaling(min_instances=policy.scale_min_instances, max_instances=policy.scale_max_instances)
    return found


def declined(lease: MigrationLease, answer: str) -> MigrationLease:
    """The same lease, to which a person said no: its services are opened again exactly as they were found. The data was
    not touched.

    Where a mitigation was in force they are as before it: opening a service ends it.
    """
    rollouts = tuple(rollout.model_copy(update={"back_to": None}) for rollout in lease.rollouts)
    update = {"rollouts": rollouts, "is_declined": True}
    return with_progress(lease.model_copy(update=update), declined=answer)
