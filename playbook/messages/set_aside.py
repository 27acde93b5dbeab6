"""What people read when the engine cannot act: annotations that are set aside, users that are not back."""

from playbook.incident.decision_matrix import Severity
from playbook.lease.lease import Lease
from playbook.lease.record import PREFIX, Unreadable
from playbook.messages.facts import Audience, Message, Page
from playbook.messages.plan import rollback_plan
from playbook.messages.report import Report
from playbook.release.request import StandDown


def set_aside(one: Unreadable, environment: str, place: str) -> Page:
    """The engine does nothing with this service, and users may be on a release that nothing watches: P1.

    ``place`` is gcloud's flags for the project and region.
    """
    return Page(
        key=f"set-aside/{one.service}",
        severity=Severity.P1,
        summary=f"{environment.capitalize()} {one}"[:1024],
        details={
            "service": one.service,
            "what users have": "not known to the engine: it neither recovers nor rolls back this service",
            "look": f"gcloud run services describe {one.service} {place}",
            "what to do": f"send users to a good revision, then correct or remove the annotations {PREFIX}*",
        },
    )


def not_reverted(report: Report, why: str) -> Page:
    """Users could not be moved back everywhere: P1, with what a person can do by hand."""
    lease = report.lease
    return Page(
        key=lease.release_id,
        severity=Severity.P1,
        summary=f"{report.environment.capitalize()}: {lease.version} could not be taken back everywhere: {why}"[:1024],
        details={
            "release": lease.release_id,
            "why it is taken back": lease.reason,
            "what failed": why,
            "what happens now": "recovery tries again every minute, until a person stands the release down",
            "by hand": rollback_plan(lease),
        },
    )


def stood_down(lease: Lease, environment: str, request: StandDown) -> Message:
    """A person has taken a release over: the engine does nothing more with its services."""
    text = "\n".join(
        (
            f"🖐 {environment.upper()}: {lease.release_id} WAS STOOD DOWN",
            f"By: {request.by}",
            f"Reason: {request.reason}",
            f"Services: {', '.join(lease.services)}. Users stay where they are; nothing watches or reverts them now.",
        )
    )
    return Message(key=f"{lease.release_id}/stood-down", audience=Audience.INCIDENTS, text=text)
