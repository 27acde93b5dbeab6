"""What can be said of a migration rollback that stopped, without knowing of the migration."""

from playbook.errors import Fenced
from playbook.lease.lease import MigrationLease
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot, TrafficSplit


def is_closed(snapshot: ServiceSnapshot, lease: MigrationLease) -> bool:
    """Whether users' writes to the service are off, by what is observed and with nothing under way."""
    closed = lease.maintenance.get(snapshot.service)
    has_none = snapshot.scaling.manual == 0 and not snapshot.is_reconciling
    return has_none or bool(closed and snapshot.serves(TrafficSplit.all_to(closed)))


def not_newer(snapshot: ServiceSnapshot, lease: MigrationLease) -> Record:
    """The record of the coordinator, which no newer run has. Raises: Fenced."""
    record = Record.read(snapshot)
    if record.epoch > lease.epoch:
        raise Fenced(
            f"{lease.release_id} went on in another run, of epoch {record.epoch}; this one writes nothing more."
        )
    return record
