"""Where a release leaves its users, and whether another person moved them after its last step."""

from playbook.errors import OutOfBandChange
from playbook.lease.lease import Decision, Lease, ServiceRollout, fenced_by
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot


def check_settled(snapshot: ServiceSnapshot, lease: Lease) -> None:
    """Users of the service are where the release has put them: it may say so.

    Narrower than `change.guard`, which allows every split of the way. Raises: Fenced (a newer run has the release),
    OutOfBandChange (another person moved them).
    """
    name, epoch = snapshot.service, Record.read(snapshot).epoch
    if epoch > lease.epoch:
        raise fenced_by(epoch, lease, name)
    wanted = lease.target(lease.rollout(name))
    if not snapshot.pinned.moves_like(wanted):
        raise OutOfBandChange(
            f"{name}: traffic is {snapshot.split}, set by {snapshot.last_modifier or 'another person'} after "
            f"{lease.release_id} had it at {wanted}. It is left as it is.",
            service=name,
        )


def check_taken_first(there: ServiceSnapshot, coordinator: ServiceSnapshot, lease: Lease) -> None:
    """A participant of a newer epoch fences a run only with its coordinator: a rollback comes to its participants last,
    and another run may have had one of them before.

    Raises: OutOfBandChange (the coordinator is still this run's, and ``there`` is another's).
    """
    led, record = Record.of(coordinator), Record.of(there)
    held = led.lease if isinstance(led, Record) else None
    if held is None or (held.epoch, held.flow_run_id) != (lease.epoch, lease.flow_run_id):
        return
    if isinstance(record, Record) and record.holder != lease.release_id:
        whose = f"is held by release {record.holder}" if record.holder else "was moved by another run"
        words = f"{there.service} {whose}, which came to it first: it serves {there.pinned}. It is left to that."
        raise OutOfBandChange(words, service=there.service)


def left_behind(snapshot: ServiceSnapshot, record: Record, release_id: str) -> str:
    """That users of a coordinator are on a revision of this release although its lease is gone from there; empty where
    they are not, or where that release reached all of them."""
    end, good = f"-{release_id.rsplit('-', 1)[-1]}", {promotion.revision for promotion in record.last_good}
    if record.holder or not any(name.endswith(end) and name not in good for name in snapshot.pinned.percent):
        return ""
    return f"the lease of {release_id} is gone from it, its users are on {snapshot.pinned}, and nothing watches them"


def was_taken_over(record: Record, lease: Lease, rollout: ServiceRollout) -> bool:
    """Whether a newer run has this release, or has had it: a promotion that is over was written down as good.

    A service that ``lease`` itself has let go, and that another release has come to since, was not.
    """
    if record.epoch <= lease.epoch:
        return False
    is_written = any(good.revision == rollout.to_revision for good in record.last_good)
    return record.holder == lease.release_id or (lease.decision is Decision.PROMOTE and not is_written)
