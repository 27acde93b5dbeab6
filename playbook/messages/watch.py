"""What people read of the hour after a promotion, a rollback or a mitigation."""

from collections.abc import Sequence

from playbook.lease.lease import Lease
from playbook.messages.checklist import overridden
from playbook.messages.facts import Audience, Message
from playbook.messages.times import minutes
from playbook.messages.words import stable_names
from playbook.release.request import Measure, MitigateRequest


def users_have(lease: Lease) -> str:
    """The release that users were moved to."""
    return stable_names(lease) if lease.is_back else lease.version


def measure_of(request: MitigateRequest) -> str:
    """What was done to the service, after "it was"."""
    match request.measure:
        case Measure.SCALE:
            return f"scaled to {request.instances} instances"
        case Measure.READ_ONLY:
            return "set to read-only"
        case Measure.RESTORE:
            return "restored to what it was before the first measure"


def watch_of(request: MitigateRequest, watch_s: float, bake_s: float) -> str:
    """Whether the effect of a measure is watched, in a sentence."""
    if request.measure is Measure.READ_ONLY:
        return "not watched: refused writes are answered 503, which counts as errors. Look at the dashboard."
    if request.instances == 0:
        return "not watched: a service that is stopped has no requests."
    if not bake_s:
        return "not watched: this environment watches nothing (bake_s = 0)."
    return f"its errors and latency are watched for {minutes(watch_s)}; an alarm pages, and the end is told here."


def watch_passed(lease: Lease, watch_s: float, unsure: Sequence[str], measure: str = "") -> str:
    """Nothing bad was seen; ``unsure`` says for which service that is not certain, and why."""
    since = f"users went back to it from {lease.version}" if lease.is_back else "its promotion"
    what, since = (lease.coordinator, f"it was {measure}") if measure else (users_have(lease), since)
    said = f"{what}: no alarm in the {minutes(watch_s)} since {since}."
    return f"{said} Not certain: {unsure[0]}" if unsure else said


def left_early(lease: Lease, moved: Sequence[str]) -> list[str]:
    """What is said of the services ``moved``, whose users were moved on before the hour was over."""
    if not moved:
        return []
    return [f"{', '.join(moved)}: users were moved off {users_have(lease)} before the watch was over; it ended there."]


def watched(lease: Lease, environment: str, message: str, measure: str = "") -> Message:
    """How the hour went, where people read that it began."""
    text = "\n".join((f"👍 {environment.capitalize()} watch is over", message, *overridden(lease.overrides)))
    audience = Audience.INCIDENTS if measure else Audience.RELEASES
    return Message(key=f"{lease.release_id}/watched", audience=audience, text=text)
