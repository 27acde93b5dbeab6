"""What one update of a service writes, and the pure steps that say which update is due.

Every step takes a fresh read and answers the Change that is still missing, or None where the world is so already.
Doing a step
twice therefore writes once, and a lost reply is found out by asking again.
"""

from collections.abc import Mapping

from pydantic import Field

from playbook.base import Frozen
from playbook.claim import Claim, Decision, Kind, Member, Part, Promotion, Record
from playbook.errors import Conflict, Fenced, Held, Interrupted, Refused, Transient
from playbook.settled import final_split, was_taken_over
from playbook.traffic import CANARY_TAG, OUR_TAGS, PREVIOUS_TAG, Scaling, ServiceSnapshot, TrafficSplit


class Deployment(Frozen):
    """A new revision: the template of ``base`` with another image and the overrides of the environment file."""

    revision: str
    base: str = Field(description="the revision whose template is copied")
    image: str
    environment: dict[str, str] = Field(default_factory=dict, description="variables that replace those of the base")


class Change(Frozen):
    """One update: always the record, and what moves with it. None leaves that part of the service alone."""

    record: Record
    split: TrafficSplit | None = None
    deployment: Deployment | None = None
    scaling: Scaling | None = None


def guard(snapshot: ServiceSnapshot, claim: Claim) -> Record:
    """The record of a service that this claim still holds.

    Raises: Fenced (a newer epoch is written there), Interrupted (the claim is gone, or traffic or the template are
    not ours).
    """
    record = Record.read(snapshot)
    name = snapshot.service
    if record.epoch > claim.epoch or is_anothers(record, claim):
        raise Fenced(f"{name}: epoch {record.epoch} holds it, this run has {claim.epoch}; nothing more is written.")
    part = claim.part(name)
    if snapshot.latest_created not in (part.latest_created, part.canary):
        raise Interrupted(
            f"{name}: revision {snapshot.latest_created} was deployed by {snapshot.last_modifier or 'somebody'} "
            f"during release {claim.release_id}. It is left as it is.",
            service=name,
        )
    if not any(snapshot.pinned.moves_like(ours) for ours in ways(claim, part)):
        raise Interrupted(
            f"{name}: traffic is {snapshot.split}, set by {snapshot.last_modifier or 'somebody'} during release "
            f"{claim.release_id}. It is left as it is.",
            service=name,
        )
    if record.holder not in (claim.release_id, "") or (record.epoch == claim.epoch and not record.holder):
        raise Interrupted(f"{name}: the claim of {claim.release_id} was taken off it.", service=name)
    return record


def is_anothers(record: Record, claim: Claim) -> bool:
    """Whether another process wrote this very epoch: two took over in the same second, and the other one was first."""
    held = record.claim
    return held is not None and held.epoch == claim.epoch and held.flow_run_id != claim.flow_run_id


def ways(claim: Claim, part: Part) -> tuple[TrafficSplit, ...]:
    """Every split that a service of this release may be found in, by what the release has decided so far."""
    shares = (*claim.earlier_percents, claim.canary_percent)
    baking = tuple(part.stable.with_canary(part.canary, share) for share in shares)
    everybody = TrafficSplit.all_to(part.canary)
    found = part.found or part.stable
    if claim.migration is not None:
        closed = claim.migration.maintenance.get(part.service)
        return (found, part.stable, *((TrafficSplit.all_to(closed),) if closed else ()))
    match claim.decision:
        case Decision.DEPLOY:
            return (found,)
        case Decision.BAKE:
            return baking if claim.bake_start_s else (found, *baking)
        case Decision.PROMOTE:
            return (*baking, everybody) if claim.bake_start_s else (found, everybody)
        case Decision.REVERT:
            return (found, part.stable, *baking, everybody)


def mark(record: Record, claim: Claim, service: str) -> Record:
    """The record of ``service`` once it carries ``claim``: all of it on the lead, a pointer elsewhere."""
    part = claim.part(service)
    held = (
        {"claim": claim, "member": None}
        if service == claim.lead
        else {
            "claim": None,
            "member": Member(release_id=claim.release_id, epoch=claim.epoch, lead=claim.lead, stable=part.stable),
        }
    )
    return record.model_copy(update={"epoch": claim.epoch, **held})


def to_claim(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The service carries the claim, and LATEST is pinned to the revision that serves now.

    Raises: Held (another release has it), Fenced (a newer epoch is written there), Refused (it is mitigated), Conflict
    (traffic is no longer what was planned on).
    """
    record = unheld(snapshot, claim)
    wanted = mark(record, claim, snapshot.service)
    pinned = snapshot.pinned.without_tags(CANARY_TAG)
    if not pinned.moves_like(claim.part(snapshot.service).stable):
        raise Conflict(
            f"{snapshot.service}: traffic became {snapshot.split} (by {snapshot.last_modifier or 'somebody'}) "
            "while the release was being planned. Start it again."
        )
    return None if record == wanted and snapshot.split == pinned else Change(record=wanted, split=pinned)


def unheld(snapshot: ServiceSnapshot, claim: Claim) -> Record:
    """The record of a service that ``claim`` may take. Raises: Held, Fenced, Refused, as `to_claim`."""
    record = not_held(snapshot, claim.version, claim.release_id)
    if record.epoch > claim.epoch:
        raise Fenced(f"{snapshot.service}: epoch {record.epoch} is newer than this run's {claim.epoch}.")
    if record.mitigation is not None:
        what = record.mitigation
        raise Refused(
            f"{snapshot.service} was set to {what.measure} by {what.by} ({what.reason}). Start mitigate/… with restore "
            "first."
        )
    return record


def not_held(snapshot: ServiceSnapshot, version: str, ours: str = "") -> Record:
    """The record of a service that nobody but the release ``ours`` holds. Raises: Held."""
    record = Record.read(snapshot)
    if record.holder not in ("", ours):
        is_same = record.holder.startswith(version + "-")
        run = f", flow run {record.claim.flow_run_id}" if record.claim else ""
        raise Held(
            f"{snapshot.service} is held by release {record.holder}{run}.", is_same=is_same, holder=record.holder
        )
    return record


def to_begin_rollback(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The lead carries the rollback and serves what is gone back to: one update, before any other service moves.

    Raises: as `to_claim`.
    """
    unheld(snapshot, claim)
    found = claim.part(snapshot.service).found
    if found is not None and not Record.read(snapshot).holder and not snapshot.pinned.moves_like(found):
        raise Conflict(
            f"{snapshot.service}: traffic became {snapshot.split} (by {snapshot.last_modifier or 'somebody'}) "
            "while the rollback was being planned. Look, and start it again."
        )
    return to_revert(snapshot, claim)


def to_take_over(snapshot: ServiceSnapshot, claim: Claim, found: Claim) -> Change | None:
    """The service carries ``claim`` in place of the same release's older one; nobody is moved.

    A service that the older process had not come to yet, or had let go already when it died, is claimed now; one that
    an earlier recovery had not come to is as old as that one found it. Only the lead says whether a release has ended,
    and how far it is.
    Raises: Fenced (another process has taken it over since ``found`` was read), Conflict (its own process has
    gone on since: what it noted would be lost), and what `guard` raises.
    """
    is_lead, held = snapshot.service == claim.lead, Record.read(snapshot).claim
    if is_lead and held is not None and held.epoch == found.epoch and held != found:
        raise Conflict(
            f"{snapshot.service}: {claim.release_id} has gone on since it was read ({found.decision}, now "
            f"{held.decision}). Read it again."
        )
    record = guard(snapshot, claim)
    has_ended = is_lead and not record.holder
    if has_ended or (record.epoch > found.epoch and record.epoch != claim.epoch):
        raise Fenced(f"{snapshot.service}: release {claim.release_id} was taken over or ended meanwhile.")
    wanted = mark(record, claim, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_scale(snapshot: ServiceSnapshot, claim: Claim, instances: int) -> Change | None:
    """The service keeps at least so many instances; the claim, with the scaling to go back to, is written with it.

    A bound above (0: none is set) gives way: Cloud Run refuses one below the least.
    """
    record = guard(snapshot, claim)
    wanted = mark(record, claim, snapshot.service)
    least, most = max(instances, snapshot.scaling.min_instances), snapshot.scaling.max_instances
    bounds = {"min_instances": least, "max_instances": most and max(least, most)}
    scaling = snapshot.scaling.model_copy(update=bounds)
    return None if snapshot.scaling == scaling and record == wanted else Change(record=wanted, scaling=scaling)


def move(snapshot: ServiceSnapshot, claim: Claim, want: TrafficSplit) -> Change | None:
    """Send users as ``want`` says and write the claim with it. None where both are so."""
    record = guard(snapshot, claim)
    wanted = mark(record, claim, snapshot.service)
    if snapshot.split == want and snapshot.serves(want) and record == wanted:
        return None
    return Change(record=wanted, split=want)


def to_deploy(snapshot: ServiceSnapshot, claim: Claim, overrides: Mapping[str, str]) -> Change | None:
    """The new revision exists, is tagged, and no user is sent to it.

    Raises: Transient (it is still starting), as `guard`.
    """
    part = claim.part(snapshot.service)
    want = keep_tags(snapshot, part.stable).with_tag(CANARY_TAG, part.canary)
    if snapshot.latest_created == part.canary and snapshot.is_reconciling:
        raise Transient(f"{snapshot.service}: {part.canary} is still starting.")
    if snapshot.latest_created == part.canary:
        return move(snapshot, claim, want)
    return Change(
        record=mark(guard(snapshot, claim), claim, snapshot.service),
        split=want,
        deployment=Deployment(
            revision=part.canary, base=part.stable.main, image=part.image, environment=dict(overrides)
        ),
    )


def to_bake(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The canary has its share of the users."""
    part = claim.part(snapshot.service)
    want = part.stable.with_canary(part.canary, claim.canary_percent)
    return move(snapshot, claim, keep_tags(snapshot, want).with_tag(CANARY_TAG, part.canary))


def to_promote(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """The canary has all users; the old stable revision is kept alive by a tag until the watch is over."""
    part = claim.part(snapshot.service)
    want = keep_tags(snapshot, TrafficSplit.all_to(part.canary)).with_tag(CANARY_TAG, part.canary)
    return move(snapshot, claim, want.with_tag(PREVIOUS_TAG, part.stable.main))


def to_revert(snapshot: ServiceSnapshot, claim: Claim) -> Change | None:
    """All users are on what was stable at the claim; the canary's tag and the instances it was given are gone."""
    part = claim.part(snapshot.service)
    split = keep_tags(snapshot, part.stable).without_tags(CANARY_TAG)
    moved = move(snapshot, claim, split)
    if snapshot.service not in claim.scaled_at_s or snapshot.scaling == part.scaling:
        return moved
    return Change(record=mark(guard(snapshot, claim), claim, snapshot.service), split=split, scaling=part.scaling)


def to_release(snapshot: ServiceSnapshot, claim: Claim, now_s: float) -> Change | None:
    """No claim and no canary tag are left; what serves everybody now is written down as the last good release.

    Where somebody else moved users after the release's last step, nothing is written down as good that does not serve.
    A release that was taken back leaves its incident open on the lead; the next good one closes it.
    Raises: Fenced (a newer run has taken it over since, so that how it ended is that one's to say).
    """
    record, part = Record.read(snapshot), claim.part(snapshot.service)
    if was_taken_over(record, claim, part):
        raise Fenced(f"{snapshot.service}: {claim.release_id} was taken over by a run of epoch {record.epoch}.")
    if record.epoch > claim.epoch or record.holder != claim.release_id:
        return None
    left, is_so = record.released(), snapshot.pinned.moves_like(final_split(claim, part))
    if claim.migration is not None and snapshot.service in claim.migration.bases:
        left = left.copied(claim.migration.bases[snapshot.service], part.stable.main)
    if claim.decision is Decision.PROMOTE:
        digest = part.image.rsplit("@", 1)[-1]
        new = Promotion(release=claim.version, revision=part.canary, digest=digest, promoted_at_s=now_s)
        left = left.promoted(new, before=part.stable.main).model_copy(update={"incidents": ()}) if is_so else left
    elif part.back_to is not None and is_so:
        back = part.back_to.model_copy(update={"promoted_at_s": now_s, "is_return": True})
        left = left.returned(back, part.canary)
    elif claim.kind in (Kind.RELEASE, Kind.HOTFIX):
        left = left.without(part.canary)  # it may have been written down before the release was taken back after all
    if claim.decision is Decision.REVERT and snapshot.service == claim.lead:
        left = left.alarmed(claim.release_id)
    return Change(record=left, split=snapshot.split.without_tags(CANARY_TAG))


def to_free_orphan(snapshot: ServiceSnapshot, release_id: str) -> Change | None:
    """A service that still points to a release which is gone from its lead goes back to its own stable split,
    unmarked. None where it points to another one by now."""
    record = Record.read(snapshot)
    if record.member is None or record.member.release_id != release_id:
        return None
    split = keep_tags(snapshot, record.member.stable).without_tags(CANARY_TAG)
    return Change(record=record.released(), split=split)


def to_note_incident(snapshot: ServiceSnapshot, incident: str) -> Change | None:
    """The service remembers an incident that is not over: the next good release, or a rollback, resolves it."""
    record = Record.read(snapshot)
    return None if incident in record.incidents else Change(record=record.alarmed(incident))


def to_end_watch(snapshot: ServiceSnapshot, version: str) -> Change | None:
    """The revision before ``version`` is no longer kept alive. None where another release holds or has replaced it."""
    record = Record.read(snapshot)
    is_newest = bool(record.last_good) and record.last_good[0].release == version
    if record.holder or not is_newest or PREVIOUS_TAG not in snapshot.split.tags:
        return None
    return Change(record=record, split=snapshot.split.without_tags(PREVIOUS_TAG))


def keep_tags(snapshot: ServiceSnapshot, split: TrafficSplit) -> TrafficSplit:
    """``split`` with the tags that other people put on the service."""
    theirs = {tag: revision for tag, revision in snapshot.pinned.tags.items() if tag not in OUR_TAGS}
    return split.model_copy(update={"tags": {**theirs, **split.tags}})
