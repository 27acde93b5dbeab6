"""What wakes the on-call engineer."""

from playbook.analysis.verdict import Verdict
from playbook.incident.decision_matrix import SEVERITY_OF, Event, Symptom, row_for
from playbook.incident.response import Call
from playbook.lease.lease import HotfixLease, Lease, RollbackLease
from playbook.messages.facts import SUMMARY_MAX, Page
from playbook.messages.plan import rollback_plan
from playbook.messages.report import Report
from playbook.messages.words import impact, severity, stable_names


def rollback_page(report: Report) -> Page:
    """Playbook 7: the on-call engineer hears of a rollback after users are safe."""
    lease = report.lease
    return Page(
        key=lease.release_id,
        severity=severity(report),
        calls=calls_of(report),
        summary=f"{report.environment.capitalize()} deployment failure: {lease.version}. {lease.reason}"[:SUMMARY_MAX],
        details={
            "release": lease.release_id,
            "services": ", ".join(lease.services),
            "users are on": "; ".join(f"{rollout.service}: {lease.fallback(rollout)}" for rollout in lease.rollouts),
            "impact": impact(report),
            **overridden_details(lease),
            "flow run": lease.flow_run_id,
        },
    )


def overridden_details(lease: Lease) -> dict[str, str]:
    """What was overridden for the release, by whom and why, for the details of a page."""
    return {"overridden": "; ".join(map(str, lease.overrides))} if lease.overrides else {}


def calls_of(report: Report) -> tuple[Call, ...]:
    """Whom the incident calls: those of its severity, and those of security where a vulnerability was reported."""
    lease = report.lease
    is_security = isinstance(lease, RollbackLease) and lease.request.symptom is Symptom.VULNERABILITY
    is_security = is_security or isinstance(lease, HotfixLease)
    return (Call(severity(report).value), *((Call.SECURITY,) if is_security else ()))


def alarm_page(lease: Lease, environment: str, verdict: Verdict, form: str, measure: str = "") -> Page:
    """What all users have is bad: after a promotion, a rollback, or the ``measure`` of a mitigation.

    ``form`` is the link to the filled-in rollback form, or what to start by hand.
    """
    by_hand = {} if lease.is_back or measure else {"roll back by hand": rollback_plan(lease)}
    return Page(
        key=alarm_key(lease),
        severity=verdict.severity or SEVERITY_OF[Event.TURNED_BAD],
        summary=alarm_summary(lease, environment, verdict, measure)[:SUMMARY_MAX],
        details={"roll back": form, **by_hand, **overridden_details(lease)},
    )


def alarm_summary(lease: Lease, environment: str, verdict: Verdict, measure: str = "") -> str:
    """What turned bad, in one line."""
    return f"{environment.capitalize()} {turned_bad(lease, verdict, measure)}"


def turned_bad(lease: Lease, verdict: Verdict, measure: str = "") -> str:
    """What users have, that it is bad, and since when they have it."""
    if measure:
        return f"{lease.coordinator} is bad since it was {measure}: {verdict.explanation}"
    if lease.is_back:
        return f"{stable_names(lease)} is bad too, after the rollback of {lease.version}: {verdict.explanation}"
    return f"{lease.version} turned bad after promotion: {verdict.explanation}"


def alarm_key(lease: Lease) -> str:
    """The key of the page that says a promoted release turned bad."""
    return f"{lease.release_id}/watch"


def alarm_rollback(lease: Lease, verdict: Verdict, measure: str = "") -> dict[str, str]:
    """The rollback form as an alarm fills it in."""
    row = row_for(verdict.reason)
    symptom = row.symptom if row else Symptom.SOMETHING_ELSE
    reason = turned_bad(lease, verdict, measure)
    return {"symptom": symptom.value, "reason": reason[:500]}
