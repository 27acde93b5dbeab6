"""Where a release leaves its users, and whether another person moved them after its last step."""

from playbook.errors import Fenced, OutOfBandChange
from playbook.lease.lease import Decision, Lease, ServiceRollout, overtaken
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot


def check_settled(snapshot: ServiceSnapshot, lease: Lease) -> None:
    """Users of the service are where the release has put them: it may say so.

    Narrower than `change.guard`, which allows every split of the way. Raises: Fenced (a newer run has the release),
    OutOfBandChange (another person moved them).
    """
    name, epoch = snapshot.service, Record.read(snapshot).epoch
    if epoch > lease.epoch:
        raise Fenced(f"{name}: {overtaken(epoch, lease)}")
    wanted = lease.target(lease.rollout(name))
    if not snapshot.pinned.moves_like(wanted):
        raise OutOfBandChange(
            f"{name}: traffic is {snapshot.split}, set by {snapshot.last_modifier or 'another person'} after "
            f"{lease.release_id} had it at {wanted}. It is left as it is.",
            service=name,
        )


def was_taken_over(record: Record, lease: Lease, rollout: ServiceRollout) -> bool:
    """Whether a newer run has this release, or has had it: a promotion that is over was written down as good.

    A service that ``lease`` itself has let go, and that another release has come to since, was not.
    """
    if record.epoch <= lease.epoch:
        return False
    is_written = any(good.revision == rollout.to_revision for good in record.last_good)
    return record.holder == lease.release_id or (lease.decision is Decision.PROMOTE and not is_written)
