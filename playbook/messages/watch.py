"""What people read of the hour after a promotion or a rollback."""

from collections.abc import Sequence

from playbook.lease.lease import Lease
from playbook.messages.facts import Audience, Message
from playbook.messages.times import minutes
from playbook.messages.words import stable_names


def users_have(lease: Lease) -> str:
    """The release that users were moved to."""
    return stable_names(lease) if lease.is_back else lease.version


def watch_passed(lease: Lease, watch_s: float, unsure: Sequence[str]) -> str:
    """Nothing bad was seen; ``unsure`` says for which service that is not certain, and why."""
    since = f"users went back to it from {lease.version}" if lease.is_back else "its promotion"
    said = f"{users_have(lease)}: no alarm in the {minutes(watch_s)} since {since}."
    return f"{said} Not certain: {unsure[0]}" if unsure else said


def watched(lease: Lease, environment: str, message: str) -> Message:
    """How the hour went, where people read that it began."""
    text = f"👍 {environment.capitalize()} watch is over\n{message}"
    return Message(key=f"{lease.release_id}/watched", audience=Audience.RELEASES, text=text)
