"""Immediate actions (playbook 7): which update of a service a measure is, and which one takes it back."""

from playbook.errors import Held
from playbook.lease.change import Change, keep_tags
from playbook.lease.record import Mitigation, Record
from playbook.release.request import MitigateRequest
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit, is_our_tag


def to_mitigate(
    snapshot: ServiceSnapshot,
    request: MitigateRequest,
    split: TrafficSplit | None,
    scaling: Scaling | None,
    at_s: float,
) -> Change | None:
    """The measure is in force, and what was before the first one is written down, from the read it is written under.

    Raises: Held where a release has the service.
    """
    record = _unheld(snapshot)
    first = record.mitigation
    kept = Mitigation(
        measure=request.measure,
        by=request.requested_by,
        reason=request.reason,
        at_s=at_s,
        split=first.split if first else snapshot.pinned,
        scaling=first.scaling if first else snapshot.scaling,
    )
    is_so = (split is None or snapshot.serves(split)) and (scaling is None or snapshot.scaling == scaling)
    if is_so and first is not None and first.measure is request.measure:
        return None
    return Change(
        record=record.model_copy(update={"mitigation": kept}),
        split=None if split is None else keep_tags(snapshot, split),
        scaling=scaling,
    )


def to_restore(snapshot: ServiceSnapshot) -> Change | None:
    """The service is as it was before the first measure; None where there is none in force.

    Other people's tags stay as they are now. Where users are as they were, traffic is not touched: LATEST stays so.
    Raises: Held where a release or a migration rollback has the service, which would be opened while it works on it.
    """
    record = _unheld(snapshot)
    if record.mitigation is None:
        return None
    before = record.mitigation.split
    ours = {tag: revision for tag, revision in before.tags.items() if is_our_tag(tag, revision)}
    return Change(
        record=record.model_copy(update={"mitigation": None}),
        split=None if snapshot.pinned.moves_like(before) else keep_tags(snapshot, before, ours),
        scaling=record.mitigation.scaling,
    )


def replaced(snapshot: ServiceSnapshot, at_s: float | None = None) -> str:
    """What stands in place of the measure that was taken at ``at_s`` (None: a restore), and by whom, as far as that is
    known."""
    record = Record.of(snapshot)
    other = record.mitigation if isinstance(record, Record) else None
    if other is not None and other.at_s != at_s:
        what = f"{other.by} asked for {other.measure} ({other.reason}) at the same time"
    else:
        what = f"{snapshot.last_modifier or 'another person'} changed it at the same time"
    return f"{snapshot.service}: {what}. It serves {snapshot.split}, {snapshot.scaling} now. Agree on what it shall be."


def _unheld(snapshot: ServiceSnapshot) -> Record:
    record = Record.read(snapshot)
    if record.holder:
        raise Held(
            f"{snapshot.service} is held by release {record.holder}. Start rollback/… first, or cancel that release; a "
            "migration rollback must be over first.",
            is_same=False,
        )
    return record
