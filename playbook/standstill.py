"""Writes are off while a migration is taken back, and on again afterwards: which update of a service each step is.

`--max-instances=0` does not stop a service (Cloud Run reads it as no limit), so writes are stopped by a revision that
refuses them, or by fixing the number of instances at 0 (docs/deviations.md).
"""

from collections.abc import Mapping

from playbook import change
from playbook.change import Change, Deployment
from playbook.claim import MITIGATION, Claim, Decision, Part, Promotion, Record
from playbook.errors import BadRequest, Fenced, Interrupted, Refused, Transient
from playbook.migration import Migration, Undoing, code_problem
from playbook.policy import Policy
from playbook.rollback import Found
from playbook.traffic import CANARY_TAG, Scaling, ServiceSnapshot, TrafficSplit

CLAIM_LIFE_S = 7 * 86_400.0
"""A migration rollback may wait for people: its claim is not anybody's to recover for a week."""


def code_after(found: Found, migrations: tuple[Migration, ...], schema: int, wanted: str) -> Promotion:
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


def part_for(found: Found, good: Promotion) -> Part:
    """The part of the claim that closes one service and opens it again with ``good``."""
    snapshot = found.snapshot
    mitigation = Record.read(snapshot).mitigation
    before = mitigation.split if mitigation else snapshot.pinned
    revision = {one.name: one for one in found.revisions}.get(good.revision)
    if revision is None or not revision.is_ready:
        state = "is not ready" if revision else "does not exist any more"
        raise Refused(f"{found.service}: revision {good.revision} ({good.name}) {state}. Name another in to_release.")
    return Part(
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


def migration_claim(
    found: Mapping[str, Found],
    goods: Mapping[str, Promotion],
    undoing: Undoing,
    *,
    flow_run_id: str,
    epoch: int,
    now_s: float,
) -> Claim:
    """The claim that takes a migration back. Its lead is the first service of ``found``."""
    name = undoing.plan.undo[-1]
    return Claim(
        release_id=f"migration-{name}-{flow_run_id.replace('-', '')[-6:]}",
        version=f"migration {name}",
        flow_run_id=flow_run_id,
        epoch=epoch,
        decision=Decision.REVERT,
        parts=tuple(part_for(one, goods[service]) for service, one in found.items()),
        canary_percent=100,
        requested_by=undoing.request.requested_by,
        reason=undoing.request.reason,
        deadline_s=now_s + CLAIM_LIFE_S,
        requested_at_s=now_s,
        migration=undoing,
    )


def with_undoing(claim: Claim, **changes: object) -> Claim:
    """The same claim, further along."""
    return claim.model_copy(update={"migration": claim.undoing.model_copy(update=changes)})


def going_on(claim: Claim) -> Claim:
    """The same claim, taken up by a run: it is not stopped any more. One that was is started by a person, who has read
    why, and its restarts count anew.
    """
    halted = claim.undoing.halted
    return with_undoing(claim, halted="", seen=halted, restarts=0) if halted else claim


def restarted(claim: Claim) -> Claim:
    """The same claim, which recovery starts again once more."""
    return with_undoing(claim, restarts=claim.undoing.restarts + 1)


def to_hold(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The service carries the claim. One that is in read-only mode already stays so until it is opened.

    Raises: Held, Fenced, as `change.to_claim`.
    """
    plain = {key: value for key, value in snapshot.annotations.items() if key != MITIGATION}
    change.unheld(snapshot.model_copy(update={"annotations": plain}), claim)
    record = Record.read(snapshot)
    wanted = change.mark(record, claim, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_let_go(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The service is nobody's again, as if the claim had never been: nothing was moved, and nothing became good."""
    record = Record.read(snapshot)
    return Change(record=record.released()) if record.holder == claim.release_id else None


def to_note(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The lead carries the claim as it is now; nobody is moved."""
    record = change.guard(snapshot, claim)
    wanted = change.mark(record, claim, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_halt(snapshot: ServiceSnapshot, claim: Claim, why: str) -> Change | None:
    """The lead's claim says why it stopped; everything else in it stays as it was written last. Nobody is moved.

    Raises: Fenced (a newer run has it, and is not stopped by this one).
    """
    record = not_newer(snapshot, claim)
    held = record.claim
    if held is None or held.epoch != claim.epoch or held.migration is None or held.migration.halted == why:
        return None
    return Change(record=record.model_copy(update={"claim": with_undoing(held, halted=why)}))


def is_closed(snapshot: ServiceSnapshot, claim: Claim) -> bool:
    """Whether users' writes to the service are off, by what is observed and with nothing under way."""
    closed = claim.undoing.maintenance.get(snapshot.service)
    has_none = snapshot.scaling.manual == 0 and not snapshot.is_reconciling
    return has_none or bool(closed and snapshot.serves(TrafficSplit.all_to(closed)))


def check_closed(snapshot: ServiceSnapshot, claim: Claim) -> None:
    """Users' writes to the service are still off.

    Raises: Interrupted (somebody has turned them on), Transient (a change is under way: look again).
    """
    name, who = snapshot.service, snapshot.last_modifier or "somebody"
    if snapshot.is_reconciling:
        raise Transient(f"{name}: a change by {who} is under way.")
    if not is_closed(snapshot, claim):
        raise Interrupted(
            f"{name} serves {snapshot.served} with {snapshot.scaling}, set by {who} while the data was being changed: "
            "users can write. It is left as it is.",
            service=name,
        )


def not_newer(snapshot: ServiceSnapshot, claim: Claim) -> Record:
    """The record of the lead, which no newer run has. Raises: Fenced."""
    record = Record.read(snapshot)
    if record.epoch > claim.epoch:
        raise Fenced(
            f"{claim.release_id} went on in another run, of epoch {record.epoch}; this one writes nothing more."
        )
    return record


def to_close(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """No user's write reaches the database any more: the maintenance revision answers, or nobody does.

    Tags are dropped in either case: a tag's URL reaches its revision past both.
    """
    record = change.guard(snapshot, claim)
    wanted = change.mark(record, claim, snapshot.service)
    maintenance = claim.undoing.maintenance.get(snapshot.service)
    if maintenance:
        split, scaling = TrafficSplit.all_to(maintenance), None
    else:
        split = TrafficSplit(percent=snapshot.pinned.percent)
        scaling = None if snapshot.scaling.manual == 0 else snapshot.scaling.model_copy(update={"manual": 0})
    is_so = snapshot.split == split and snapshot.serves(split) and scaling is None
    return None if is_so and record == wanted else Change(record=wanted, split=split, scaling=scaling)


def can_introduce(claim: Claim, service: str) -> bool:
    """Whether the code that will serve can answer out of sight. At 0 instances only a revision without traffic does:
    Cloud Run starts one for its tag, and none for a revision that has users.
    """
    part = claim.part(service)
    return service in claim.undoing.maintenance or part.found is None or part.stable.main not in part.found.percent


def to_introduce(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The code that will serve answers at its tag's URL, to us alone; users still find the service closed."""
    record = change.guard(snapshot, claim)
    wanted = change.mark(record, claim, snapshot.service)
    part = claim.part(snapshot.service)
    split = TrafficSplit(percent=snapshot.pinned.percent, tags={CANARY_TAG: part.stable.main})
    is_so = snapshot.split == split and record == wanted and CANARY_TAG in snapshot.tag_urls
    return None if is_so else Change(record=wanted, split=split)


def to_repoint(snapshot: ServiceSnapshot, claim: Claim, base: str) -> Change | None:
    """A copy of revision ``base`` runs, tagged and without users: it reads the newest version of its secrets.

    Raises: Transient (it is still starting), as `change.guard`.
    """
    record = change.guard(snapshot, claim)
    wanted = change.mark(record, claim, snapshot.service)
    part = claim.part(snapshot.service)
    if snapshot.latest_created == part.stable.main and snapshot.is_reconciling:
        raise Transient(f"{snapshot.service}: {part.stable.main} is still starting.")
    if snapshot.latest_created == part.stable.main and snapshot.latest_ready == part.stable.main:
        return None
    split = TrafficSplit(percent=snapshot.pinned.percent, tags={CANARY_TAG: part.stable.main})
    return Change(
        record=wanted,
        split=split,
        deployment=Deployment(revision=part.stable.main, base=base, image=part.image),
    )


def repointed(claim: Claim) -> Claim:
    """The same claim, whose services are opened again with copies that read the restored database."""
    suffix = claim.release_id.rsplit("-", 1)[-1]
    copies = {part.service: f"{part.service}-restored-{suffix}" for part in claim.parts}
    parts = tuple(
        part.model_copy(
            update={
                "stable": TrafficSplit.all_to(copies[part.service], part.stable.tags),
                "canary": copies[part.service],
                "back_to": part.back_to and part.back_to.model_copy(update={"revision": copies[part.service]}),
            }
        )
        for part in claim.parts
    )
    bases = {part.service: part.stable.main for part in claim.parts}
    return with_undoing(claim.model_copy(update={"parts": parts}), bases=bases)


def to_open(snapshot: ServiceSnapshot, claim: Claim, policy: Policy) -> Change | None:
    """Users reach the code that can read the database, with the scaling and the tags that were found.

    A service that was found without any bounds gets the playbook's 3 to 13. A mitigation is over with it.
    """
    record = change.guard(snapshot, claim).model_copy(update={"mitigation": None})
    wanted = change.mark(record, claim, snapshot.service)
    part = claim.part(snapshot.service)
    scaling = None if snapshot.scaling.manual is None else scaling_after(part.scaling, policy)
    is_so = snapshot.split == part.stable and snapshot.serves(part.stable) and scaling is None
    return (
        None if is_so and Record.read(snapshot) == wanted else Change(record=wanted, split=part.stable, scaling=scaling)
    )


def scaling_after(found: Scaling, policy: Policy) -> Scaling:
    """What was found, or the playbook's own where nothing was (4, scenario 3, step 5)."""
    if found.manual is None and not found.min_instances and not found.max_instances:
        return Scaling(min_instances=policy.scale_min_instances, max_instances=policy.scale_max_instances)
    return found


def declined(claim: Claim, answer: str) -> Claim:
    """The same claim, to which a person said no: its services are opened again exactly as they were found, whoever
    finds it. The data was not touched.

    Where a measure was in force they are as before it: opening a service ends it, and nobody could restore it any more.
    """
    parts = tuple(
        part.model_copy(update={"stable": part.before or part.found or part.stable, "back_to": None})
        for part in claim.parts
    )
    return with_undoing(claim.model_copy(update={"parts": parts}), declined=answer)
