"""What one update of a service writes, and the pure steps that say which update is due.

Every step takes a fresh read and returns the Change that is still missing, or None where nothing is. A step that is
done twice therefore writes once, and after a lost reply the step is done again.
"""

from collections.abc import Mapping

from pydantic import Field

from playbook.base import Frozen
from playbook.errors import Conflict, Fenced, Held, OutOfBandChange, Refused, StillStarting
from playbook.lease.lease import Decision, Kind, Lease, ServiceRollout, fenced_by
from playbook.lease.record import MITIGATION, Participant, Record
from playbook.lease.settled import was_taken_over
from playbook.release.promotion import Promotion
from playbook.release.traffic import PREVIOUS_TAG, Scaling, ServiceSnapshot, TrafficSplit, is_our_tag
from playbook.release.version import digest_of


class Deployment(Frozen):
    """A new revision: the template of ``base`` with another image and the overrides of the environment file.

    With ``takes_template`` it is the service's own template instead, which a person has changed since ``base``.
    """

    revision: str
    base: str = Field(description="the revision whose template is copied")
    image: str
    environment: dict[str, str] = Field(default_factory=dict, description="variables that replace those of the base")
    takes_template: bool = False
    planned: tuple[str, ...] | None = Field(None, description="the template's drift as planned on; None: it may be any")


class Change(Frozen):
    """One update: the record, and what moves with it. None leaves that part of the service alone.

    Every step of a lease writes its record. Only where no key can be read to sign one with do users move without it.
    """

    record: Record | None
    split: TrafficSplit | None = None
    deployment: Deployment | None = None
    scaling: Scaling | None = None


def guard(snapshot: ServiceSnapshot, lease: Lease) -> Record:
    """The record of a service that this lease still holds.

    Raises: Fenced (a newer epoch is written there), OutOfBandChange (the lease is gone, or traffic or the template are
    not ours).
    """
    record = Record.read(snapshot)
    name = snapshot.service
    if record.epoch > lease.epoch or is_anothers(record, lease):
        raise fenced_by(record.epoch, lease, name)
    if not any(snapshot.pinned.moves_like(ours) for ours in lease.expected(lease.rollout(name))):
        raise OutOfBandChange(
            f"{name}: traffic is {snapshot.split}, set by {snapshot.last_modifier or 'another person'} during release "
            f"{lease.release_id}. It is left as it is.{lease.before_going_on(lease.rollout(name))}",
            service=name,
        )
    if record.holder not in (lease.release_id, "") or (record.epoch == lease.epoch and not record.holder):
        raise OutOfBandChange(f"{name}: the lease of {lease.release_id} was taken off it.", service=name)
    return record


def is_anothers(record: Record, lease: Lease) -> bool:
    """Whether another process wrote this very epoch: two took over in the same second, and the other one was first."""
    held = record.lease
    return held is not None and held.epoch == lease.epoch and held.flow_run_id != lease.flow_run_id


def mark(record: Record, lease: Lease, service: str) -> Record:
    """The record of ``service`` once it carries ``lease``: all of it on the coordinator, a pointer elsewhere."""
    rollout = lease.rollout(service)
    held = (
        {"lease": lease, "participant": None}
        if service == lease.coordinator
        else {
            "lease": None,
            "participant": Participant(
                release_id=lease.release_id,
                epoch=lease.epoch,
                coordinator=lease.coordinator,
                split=lease.fallback(rollout),
                is_taken_back=lease.decision is Decision.REVERT,
            ),
        }
    )
    return record.model_copy(update={"epoch": lease.epoch, **held})


def acquired_first(lease: Lease) -> tuple[str, ...]:
    """The services that `to_acquire` is for: all of them. A rollback takes its coordinator, and every other service in
    the update that moves its users: an update more for each would cost seconds."""
    return lease.services[:1] if lease.kind is Kind.ROLLBACK else lease.services


def to_acquire(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The service carries the lease, as each kind begins.

    A release pins LATEST to the revision that serves now; a rollback moves users in the same update; a migration
    rollback leaves everything as it is, also a mitigation that is in force.
    Raises: Held (another release has it), Fenced (a newer epoch is written there), Refused (it is mitigated), Conflict
    (traffic is no longer what was planned on).
    """
    match lease.kind:
        case Kind.ROLLBACK:
            return to_begin_rollback(snapshot, lease)
        case Kind.MIGRATION:
            return to_hold(snapshot, lease)
        case _:
            return to_pin(snapshot, lease)


def to_hold(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The service carries the lease and nothing else changes; one that is mitigated stays so. Raises: Held, Fenced."""
    plain = {key: value for key, value in snapshot.annotations.items() if key != MITIGATION}
    check_available(snapshot.model_copy(update={"annotations": plain}), lease)
    record = Record.read(snapshot)
    wanted = mark(record, lease, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_undo_acquire(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The service is free again and as it was before `to_acquire`; nothing is written down as good.

    Only traffic that is still as we asked for it goes back, and a split is sent only where it changes: Cloud Run
    refuses one that names a dead revision, and the lease must go all the same.
    Raises: Fenced (a newer epoch is written there).
    """
    record, rollout = Record.read(snapshot), lease.rollout(snapshot.service)
    if record.epoch > lease.epoch:
        raise fenced_by(record.epoch, lease, snapshot.service)
    if record.holder != lease.release_id:
        return None
    before = rollout.asked or rollout.found
    is_ours = any(snapshot.pinned.moves_like(split) for split in (rollout.found, lease.target(rollout)))
    split = keep_tags(snapshot, before) if is_ours and not snapshot.split.moves_like(before) else None
    return Change(record=record.released(), split=split)


def to_pin(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The service carries the lease, and LATEST is pinned to the revision that serves now. Raises: as `to_acquire`."""
    record = check_available(snapshot, lease)
    wanted = mark(record, lease, snapshot.service)
    pinned = keep_tags(snapshot, snapshot.pinned, _own(snapshot, PREVIOUS_TAG))
    if not pinned.moves_like(lease.rollout(snapshot.service).found):
        raise Conflict(
            f"{snapshot.service}: traffic became {snapshot.split} (by {snapshot.last_modifier or 'another person'}) "
            "while the release was being planned. Start it again."
        )
    split = None if snapshot.split == pinned else pinned
    return None if record == wanted and split is None else Change(record=wanted, split=split)


def check_available(snapshot: ServiceSnapshot, lease: Lease) -> Record:
    """The record of a service that ``lease`` may take. Raises: Held, Fenced, Refused, as `to_acquire`."""
    record = check_not_held(snapshot, lease.version, lease.release_id)
    if record.epoch > lease.epoch:
        raise fenced_by(record.epoch, lease, snapshot.service)
    if lease.release_id in record.incidents and not record.holder:
        raise Refused(
            f"{lease.release_id} was taken back, and this run is a retry of it. Start a new run: what was seen of it "
            "must be looked at first."
        )
    if record.mitigation is not None:
        raise Refused(record.mitigation.in_the_way(snapshot.service))
    return record


def check_not_held(snapshot: ServiceSnapshot, version: str, ours: str = "") -> Record:
    """The record of a service that no other release than ``ours`` holds. Raises: Held."""
    record = Record.read(snapshot)
    if record.holder not in ("", ours):
        is_same = record.holder.startswith(version + "-")
        run = f", flow run {record.lease.flow_run_id}" if record.lease else ""
        then = "It has this version: follow it there" if is_same else "Start this again once that has ended"
        raise Held(
            f"{snapshot.service} is held by release {record.holder}{run}. {then}.",
            is_same=is_same,
            holder=record.holder,
        )
    return record


def to_begin_rollback(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The coordinator carries the rollback and serves what is gone back to: one update, before any other service moves.

    Raises: as `to_acquire`.
    """
    check_available(snapshot, lease)
    found = lease.rollout(snapshot.service).found
    if not Record.read(snapshot).holder and not snapshot.pinned.moves_like(found):
        raise Conflict(
            f"{snapshot.service}: traffic became {snapshot.split} (by {snapshot.last_modifier or 'another person'}) "
            "while the rollback was being planned. Check its traffic, then start it again."
        )
    return to_revert(snapshot, lease)


def to_take_over(snapshot: ServiceSnapshot, lease: Lease, found: Lease) -> Change | None:
    """The service carries ``lease`` in place of the same release's older one; no user is moved.

    A service that the older process had not come to yet, or had let go already when it died, is acquired now; one that
    an earlier recovery had not come to is as old as that one found it. Only the coordinator says whether a release has
    ended, and how far it is.
    Raises: Fenced (another process has taken it over since ``found`` was read), Conflict (its own process has
    gone on since: what it noted would be lost), and what `guard` raises.
    """
    is_coordinator, held = snapshot.service == lease.coordinator, Record.read(snapshot).lease
    if is_coordinator and held is not None and held.epoch == found.epoch and held != found:
        raise Conflict(
            f"{snapshot.service}: {lease.release_id} has gone on since it was read ({found.decision}, now "
            f"{held.decision}). Read it again."
        )
    record = guard(snapshot, lease)
    has_ended = is_coordinator and not record.holder
    if has_ended or (record.epoch > found.epoch and record.epoch != lease.epoch):
        raise Fenced(f"{snapshot.service}: release {lease.release_id} was taken over or ended meanwhile.")
    wanted = mark(record, lease, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_scale(snapshot: ServiceSnapshot, lease: Lease, instances: int) -> Change | None:
    """The service keeps at least so many instances, within the maximum that its owner has set; the lease, with the
    scaling to go back to, is written with it. Nothing changes where `instances_to_gain` says that nothing can."""
    record = guard(snapshot, lease)
    wanted = mark(record, lease, snapshot.service)
    least = snapshot.scaling.min_instances + instances_to_gain(snapshot.scaling, instances)
    scaling = snapshot.scaling.model_copy(update={"min_instances": least})
    return None if snapshot.scaling == scaling and record == wanted else Change(record=wanted, scaling=scaling)


def instances_to_gain(scaling: Scaling, instances: int) -> int:
    """How many more instances a service would keep if ``instances`` were asked for: none where it is scaled by hand,
    and no more than its maximum allows."""
    if scaling.manual is not None:
        return 0
    return max(0, min(instances, scaling.max_instances or instances) - scaling.min_instances)


def move(snapshot: ServiceSnapshot, lease: Lease, want: TrafficSplit) -> Change | None:
    """Send users as ``want`` says and write the lease with it. None where both are so."""
    record = guard(snapshot, lease)
    wanted = mark(record, lease, snapshot.service)
    if snapshot.split == want and snapshot.serves(want) and record == wanted:
        return None
    return Change(record=wanted, split=want)


def to_deploy(snapshot: ServiceSnapshot, lease: Lease, overrides: Mapping[str, str]) -> Change | None:
    """The new revision exists, is tagged, and no user is sent to it.

    Raises: StillStarting, as `guard`.
    """
    rollout = lease.rollout(snapshot.service)
    want = keep_tags(snapshot, rollout.found, _tags(rollout, lease.tag))
    if is_deployed(snapshot, lease):
        if snapshot.is_under_way:
            raise StillStarting(f"{snapshot.service}: {rollout.to_revision} is still starting.")
        return move(snapshot, lease, want)
    return Change(
        record=mark(guard(snapshot, lease), lease, snapshot.service),
        split=want,
        deployment=Deployment(
            revision=rollout.to_revision,
            base=rollout.from_revision,
            image=rollout.image,
            environment=dict(overrides),
            takes_template=rollout.takes_template,
            planned=rollout.drift if rollout.takes_template or not rollout.drift else None,
        ),
    )


def is_deployed(snapshot: ServiceSnapshot, lease: Lease) -> bool:
    """Whether the lease's new revision was asked for. Other people may have deployed a newer one since."""
    ours = lease.rollout(snapshot.service).to_revision
    return ours in (snapshot.latest_created, *snapshot.split.tags.values(), *snapshot.split.percent)


def to_bake(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The canary has its share of the users."""
    rollout = lease.rollout(snapshot.service)
    want = rollout.found.with_canary(rollout.to_revision, lease.share(rollout))
    return move(snapshot, lease, keep_tags(snapshot, want, _tags(rollout, lease.tag)))


def to_record(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The coordinator carries the lease as it is now. No user is moved."""
    record = guard(snapshot, lease)
    wanted = mark(record, lease, snapshot.service)
    return None if record == wanted else Change(record=wanted)


def to_promote(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """The new revision has all users; the one before is kept alive by a tag until the watch is over."""
    rollout = lease.rollout(snapshot.service)
    tags = _tags(rollout, lease.tag, PREVIOUS_TAG)
    return move(snapshot, lease, keep_tags(snapshot, TrafficSplit.all_to(rollout.to_revision), tags))


def to_revert(snapshot: ServiceSnapshot, lease: Lease) -> Change | None:
    """All users are on the lease's target; the canary's tag and the instances it was given are gone."""
    rollout = lease.rollout(snapshot.service)
    split = keep_tags(snapshot, lease.target(rollout), _previous(snapshot, lease))
    moved = move(snapshot, lease, split)
    if snapshot.service not in lease.scaled_at_s or snapshot.scaling == rollout.scaling:
        return moved
    return Change(record=mark(guard(snapshot, lease), lease, snapshot.service), split=split, scaling=rollout.scaling)


def _previous(snapshot: ServiceSnapshot, lease: Lease) -> dict[str, str]:
    """The tag of the release before, where it still stands: a promotion that is taken back had moved it.

    A rollback leaves none: the tag kept the revision alive that now serves.
    """
    if lease.kind is Kind.ROLLBACK:
        return {}
    before = lease.rollout(snapshot.service).found.tags.get(PREVIOUS_TAG)
    return {PREVIOUS_TAG: before} if before and PREVIOUS_TAG in snapshot.pinned.tags else {}


def to_release_lease(snapshot: ServiceSnapshot, lease: Lease, now_s: float) -> Change | None:
    """No lease and no canary tag are left; what serves every user now is written down as the last good release.

    Where another person moved users after the release's last step, nothing is written down as good that does not serve.
    A release that was taken back leaves its incident open on the coordinator; the next good one closes it. LATEST is
    given back where nothing was deployed: later it would mean the newest ready revision, which is the canary.
    Raises: Fenced (a newer run has taken it over since, and says how it ended).
    """
    record, rollout = Record.read(snapshot), lease.rollout(snapshot.service)
    if was_taken_over(record, lease, rollout):
        raise Fenced(f"{snapshot.service}: {lease.release_id} was taken over by a run of epoch {record.epoch}.")
    if record.epoch > lease.epoch or record.holder != lease.release_id:
        return None
    left, is_so = record.released(), snapshot.pinned.moves_like(lease.target(rollout))
    if lease.decision is Decision.PROMOTE:
        digest = digest_of(rollout.image)
        new = Promotion(
            release=lease.version,
            revision=rollout.to_revision,
            digest=digest,
            promoted_at_s=now_s,
            services=lease.services,
        )
        left = left.promoted(new, before=rollout.from_revision).model_copy(update={"incidents": ()}) if is_so else left
    elif rollout.back_to is not None and is_so:
        back = rollout.back_to.model_copy(update={"promoted_at_s": now_s, "is_return": True})
        left = left.returned(back, rollout.from_revision)
    elif lease.kind in (Kind.RELEASE, Kind.HOTFIX):
        left = left.without(rollout.to_revision)  # it may have been promoted before it was taken back
    if lease.decision is Decision.REVERT and snapshot.service == lease.coordinator:
        left = left.alarmed(lease.release_id)
    split = keep_tags(snapshot, latest_given_back(snapshot, lease) or snapshot.split, _own(snapshot, PREVIOUS_TAG))
    return Change(record=left, split=None if split == snapshot.split else split)


def latest_given_back(snapshot: ServiceSnapshot, lease: Lease) -> TrafficSplit | None:
    """The split with LATEST that was found at acquisition, where asking for it again moves no user. None elsewhere."""
    rollout = lease.rollout(snapshot.service)
    if rollout.asked is None or is_deployed(snapshot, lease) or not snapshot.pinned.moves_like(rollout.found):
        return None
    again = snapshot.model_copy(update={"split": rollout.asked}).pinned
    return rollout.asked if again.moves_like(rollout.found) else None


def to_free_orphan(snapshot: ServiceSnapshot, release_id: str) -> Change | None:
    """A service that still points to a release which is gone from its coordinator goes back to its own stable split,
    unmarked. None where it points to another one by now."""
    record = Record.read(snapshot)
    if record.participant is None or record.participant.release_id != release_id:
        return None
    split = keep_tags(snapshot, record.participant.split, _own(snapshot, PREVIOUS_TAG))
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


def keep_tags(snapshot: ServiceSnapshot, split: TrafficSplit, ours: Mapping[str, str] | None = None) -> TrafficSplit:
    """The percentages of ``split`` with the tags of other people, as they are now, and with ``ours``.

    Tags are never taken from an older read: their owners may have moved or removed them since.
    """
    theirs = {tag: revision for tag, revision in snapshot.split.tags.items() if not is_our_tag(tag, revision)}
    return TrafficSplit(percent=split.percent, tags=theirs | dict(ours or {}))


def _tags(rollout: ServiceRollout, canary: str, previous: str = "") -> dict[str, str]:
    """Our tags on the new revision and on the one before, where the service has tags."""
    if not rollout.has_tags:
        return {}
    return {canary: rollout.to_revision, **({previous: rollout.from_revision} if previous else {})}


def _own(snapshot: ServiceSnapshot, tag: str) -> dict[str, str]:
    """``tag`` as it stands, where it does."""
    return {tag: snapshot.split.tags[tag]} if tag in snapshot.split.tags else {}
