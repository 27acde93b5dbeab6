"""What people read of a migration rollback that stopped: P1, since users cannot write."""

from playbook.incident.decision_matrix import SEVERITY_OF, Event
from playbook.lease.lease import MigrationLease
from playbook.messages.facts import SUMMARY_MAX, Page


def go_on(environment: str) -> str:
    """How to go on from wherever it stopped."""
    return f"Start migration-rollback/{environment} again: it goes on from here."


def halted(lease: MigrationLease, environment: str, why: str) -> Page:
    """Nothing goes on by itself, and ``why`` says whose writes are off: P1."""
    return Page(
        key=lease.release_id,
        severity=SEVERITY_OF[Event.MIGRATION_ROLLBACK],
        summary=f"{environment.capitalize()} migration rollback stopped: {why}"[:SUMMARY_MAX],
        details={
            "release": lease.release_id,
            "services": ", ".join(lease.services),
            "how to go on": go_on(environment),
            "flow run": lease.flow_run_id,
        },
    )
