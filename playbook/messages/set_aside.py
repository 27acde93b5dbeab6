"""What people read when the engine cannot act: annotations that are set aside, users that are not back."""

from collections.abc import Mapping

from playbook.incident.decision_matrix import SEVERITY_OF, Event
from playbook.lease.lease import Lease
from playbook.lease.record import PREFIX, Aside, Unreadable
from playbook.messages.facts import SUMMARY_MAX, Audience, Message, Page
from playbook.messages.page import overridden_details
from playbook.messages.plan import rollback_plan
from playbook.messages.report import Report
from playbook.release.request import RollbackRequest, StandDown

LEFT_ALONE = "the engine neither recovers nor rolls back this service until its annotations are right"
STUCK = "recovery tries again every 10 minutes"


def _users(users: Mapping[str, str]) -> str:
    """A line for each service: where its users were when the page was written."""
    return "\n".join(f"{service}: {where}" for service, where in users.items())


def set_aside(one: Unreadable, environment: str, place: str, users: Mapping[str, str]) -> Page:
    """The engine does nothing with this service, and users may be on a release that nothing watches: P1.

    ``place`` is gcloud's flags for the project and region; ``users``: service -> where its users are.
    """
    return Page(
        key=f"set-aside/{one.service}",
        severity=SEVERITY_OF[Event.SET_ASIDE],
        summary=f"{environment.capitalize()} {one}"[:SUMMARY_MAX],
        details={
            "service": one.service,
            "what users have": _users(users),
            "what happens now": STUCK if one.why is Aside.STUCK else LEFT_ALONE,
            "look": f"gcloud run services describe {one.service} {place}",
            "what to do": f"send users to a good revision, then correct or remove the annotations {PREFIX}*",
        },
    )


def key_unreadable(problem: str, environment: str) -> Page:
    """No record can be checked or written: the engine does nothing with any service, and releases do not start: P1."""
    return Page(
        key="signing-key",
        severity=SEVERITY_OF[Event.SET_ASIDE],
        summary=f"{environment.capitalize()}: the engine cannot read its signing key. {problem}"[:SUMMARY_MAX],
        details={
            "what users have": "what they had: no release is recovered, started or taken back meanwhile",
            "what to do": "let the worker read the key again (docs/operations.md, The signing key)",
            "to move users before that": f"rollback/{environment} with revisions in 'to': it needs no key",
        },
    )


def late_promotion(lease: Lease, environment: str, why: str, users: Mapping[str, str]) -> Page:
    """A release stands half promoted after its deadline. Nothing late goes forward without a person: P1."""
    return Page(
        key=lease.release_id,
        severity=SEVERITY_OF[Event.LATE_PROMOTION],
        summary=f"{environment.capitalize()}: {lease.version} was not finished, and needs a person: {why}"[
            :SUMMARY_MAX
        ],
        details={
            "release": lease.release_id,
            "what users have": _users(users),
            "to take it back": f"start rollback/{environment}",
            "to keep what users have": f"start recovery/{environment} with stand_down, release {lease.release_id}",
            "by hand": rollback_plan(lease),
            **overridden_details(lease),
        },
    )


def not_reverted(report: Report, why: str, users: Mapping[str, str]) -> Page:
    """Users could not be moved back everywhere: P1, with where they are and what a person can do by hand."""
    lease = report.lease
    return Page(
        key=lease.release_id,
        severity=SEVERITY_OF[Event.NOT_REVERTED],
        summary=f"{report.environment.capitalize()}: {lease.version} could not be taken back everywhere: {why}"[
            :SUMMARY_MAX
        ],
        details={
            "release": lease.release_id,
            "why it is taken back": lease.reason,
            "what failed": why,
            "what users have": _users(users),
            "what happens now": "recovery tries again every minute, until a person stands the release down",
            "by hand": rollback_plan(lease),
            **overridden_details(lease),
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


def rolled_back_unrecorded(environment: str, request: RollbackRequest, words: list[str]) -> Message:
    """Users were moved while no signing key could be read; ``words`` say where, and what is not well."""
    text = "\n".join(
        (
            f"↩️ {environment.upper()}: USERS WERE MOVED TO {request.to}",
            f"By: {request.requested_by}",
            f"Reason: {request.symptom.value}: {request.reason}",
            *words,
        )
    )
    key = f"unrecorded/{request.to}/{request.requested_by}"
    return Message(key=key[:200], audience=Audience.INCIDENTS, text=text)
