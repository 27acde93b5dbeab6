"""What a person sees of a record that the engine has not signed, before it is signed in their name."""

from collections.abc import Iterable, Sequence

from playbook.base import Frozen
from playbook.lease.lease import Lease, next_epoch
from playbook.lease.origin import foreign
from playbook.lease.record import SIGNATURE, Record, Unreadable, ours
from playbook.lease.signature import Key
from playbook.release.traffic import ServiceSnapshot
from playbook.release.version import Service
from playbook.text import clean

LINE = 300


class Adoption(Frozen):
    """One service whose record would be signed, with what it says, a line for each part."""

    service: str
    why: str
    lines: tuple[str, ...]
    record: Record


def to_adopt(
    snapshot: ServiceSnapshot, keys: Sequence[Key], services: Sequence[Service]
) -> Adoption | Unreadable | None:
    """The record of ``snapshot`` that would be signed, or why it cannot be; None where there is nothing to sign."""
    found = ours(snapshot.annotations)
    if not found:
        return None
    why = snapshot.distrust
    if not why and found[SIGNATURE].startswith(f"{keys[0].id}."):
        return None
    record = Record.parse(snapshot.service, snapshot.annotations)
    if isinstance(record, Unreadable):
        return record
    why = why or f"they are signed with key {found[SIGNATURE].split('.')[0]}, which is no longer the first"
    return Adoption(service=snapshot.service, why=why, lines=tuple(described(record, services)), record=record)


def to_remove(service: str, records: Iterable[Record], now_s: float) -> Record:
    """The record of a service that starts from nothing: no lease, no good release, and an epoch that ends every other
    run's.

    While a release that names it is in flight (``records``: what stands on the other services), the epoch is that
    release's: to its run, or to recovery, the lease was taken off this service, and the others go back.
    """
    held = (record.lease for record in records if record.lease is not None)
    in_flight = [lease.epoch for lease in held if service in lease.services]
    return Record(epoch=max(in_flight, default=next_epoch(0, now_s)))


def described(record: Record, services: Sequence[Service]) -> list[str]:
    """What ``record`` says, and what is odd in it. Each line is clean: anyone may have written the text."""
    lines = [f"epoch {record.epoch}"]
    if record.lease:
        lines += _lease(record.lease)
        lines += [f"NOTE: {problem}" for problem in foreign(record.lease, services)]
    if record.participant:
        held = record.participant
        lines.append(f"takes part in {held.release_id}, led by {held.coordinator}; without it users go to {held.split}")
    lines += [f"good release {good.name}: revision {good.revision}" for good in record.last_good]
    if record.mitigation:
        what = record.mitigation
        lines.append(f"set to {what.measure} by {what.by} ({what.reason}); the way back is {what.split}")
    if record.incidents:
        lines.append(f"open incidents: {', '.join(record.incidents)}")
    return [clean(line, LINE).replace("\n", " ") for line in lines]


def _lease(lease: Lease) -> list[str]:
    lines = [
        f"{lease.kind} {lease.release_id} is in flight: decision {lease.decision}, flow run {lease.flow_run_id}",
        f"asked for by {lease.requested_by or 'an unknown person'}; reason: {lease.reason or 'none'}",
    ]
    lines += [
        f"{one.service}: from {one.from_revision} to {one.to_revision}, image {one.image}; the way back is "
        f"{lease.fallback(one)}"
        for one in lease.rollouts
    ]
    return lines
