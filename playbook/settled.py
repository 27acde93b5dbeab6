"""Where a release leaves its users, and whether somebody else moved them after its last step."""

from playbook.claim import Claim, Decision, Part, Record
from playbook.errors import Fenced, Interrupted
from playbook.traffic import ServiceSnapshot, TrafficSplit


def final_split(claim: Claim, part: Part) -> TrafficSplit:
    """Where users of a service are once what ``claim`` has decided is done."""
    return TrafficSplit.all_to(part.canary) if claim.decision is Decision.PROMOTE else part.stable


def check_settled(snapshot: ServiceSnapshot, claim: Claim) -> None:
    """Users of the service are where the release has put them: it may say so.

    Narrower than `change.guard`, which allows every split of the way. Raises: Fenced (a newer run has the release),
    Interrupted (somebody else moved them).
    """
    name, epoch = snapshot.service, Record.read(snapshot).epoch
    if epoch > claim.epoch:
        raise Fenced(f"{name}: epoch {epoch} holds it, this run has {claim.epoch}; nothing more is written.")
    wanted = final_split(claim, claim.part(name))
    if not snapshot.pinned.moves_like(wanted):
        raise Interrupted(
            f"{name}: traffic is {snapshot.split}, set by {snapshot.last_modifier or 'somebody'} after "
            f"{claim.release_id} had it at {wanted}. It is left as it is.",
            service=name,
        )


def was_taken_over(record: Record, claim: Claim, part: Part) -> bool:
    """Whether a newer run has this release, or has had it: a promotion that is over was written down as good.

    A service that ``claim`` itself has let go, and that another release has come to since, was not.
    """
    if record.epoch <= claim.epoch:
        return False
    is_written = any(good.revision == part.canary for good in record.last_good)
    return record.holder == claim.release_id or (claim.decision is Decision.PROMOTE and not is_written)
