"""What people read of a hotfix (playbook 6): that it is live and how long it took, and what is left to do."""

from collections.abc import Mapping

from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action
from playbook.incident.decision_matrix import MATRIX, SEVERITY_OF, Event, Symptom
from playbook.incident.response import Call, Contact, called
from playbook.lease.lease import HotfixLease, Lease
from playbook.messages.checklist import overridden
from playbook.messages.escape import markdown
from playbook.messages.facts import SUMMARY_MAX, Audience, Message, Page, Ticket
from playbook.messages.report import Report
from playbook.messages.routing import mentions
from playbook.messages.times import minutes
from playbook.release.request import ExploitCheck, HotfixRequest


def request_of(report: Report) -> HotfixRequest:
    """What was asked for; only of a hotfix."""
    assert isinstance(report.lease, HotfixLease)
    return report.lease.request


def hotfix_started(report: Report, contacts: Mapping[str, Contact], run_url: str) -> Message:
    """A hotfix goes to all users within minutes, without a canary: who allowed it, and who is called (playbook 10)."""
    lease, asked = report.lease, request_of(report)
    text = "\n".join(
        (
            f"🚨 {report.environment.upper()} HOTFIX STARTED: {lease.version}",
            f"Reason: {asked.reason} ({asked.incident})",
            "Users: all of them get it at once when its smoke tests have passed; until then they have what they had",
            f"Approved by: {asked.approver}",
            *overridden(lease.overrides),
            *called(contacts, Call.SECURITY),
            f"Run: {run_url}",
        )
    )
    return Message(
        key=f"{lease.release_id}/hotfix-started",
        audience=Audience.INCIDENTS,
        text=text,
        mentions=mentions(contacts, (Call.SECURITY,)),
    )


def hotfix_page(report: Report, run_url: str) -> Page:
    """Calls those who are on call for security, and no one else."""
    lease, asked = report.lease, request_of(report)
    return Page(
        key=f"{lease.release_id}/hotfix",
        severity=MATRIX[Symptom.VULNERABILITY].severity,
        calls=(Call.SECURITY,),
        summary=f"{report.environment.capitalize()} hotfix {lease.version} started: {asked.reason}"[:SUMMARY_MAX],
        details={
            "fixes": asked.incident,
            "users": "all of them get it at once when its smoke tests have passed",
            "approved by": asked.approver,
            "what to do": "see that the fix closes the hole; the message HOTFIX DEPLOYED says what was verified",
            "run": run_url,
        },
    )


def hotfix_deployed(report: Report, policy: Policy) -> Message:
    """Playbook 6, step 6, with who allowed it and how long it took."""
    lease, asked = report.lease, request_of(report)
    text = "\n".join(
        (
            "🚨 HOTFIX DEPLOYED",
            f"Version: {lease.version}",
            f"Reason: {asked.reason} ({asked.incident})",
            "Impact: All users (100% traffic immediately)",
            "Deployment Mode: Direct (canary skipped)",
            f"Verified: {verified(report)}",
            f"Approved by: {asked.approver}",
            f"Live: {live_after(lease, policy)}",
            *overridden(lease.overrides),
        )
    )
    return Message(key=f"{lease.release_id}/hotfix", audience=Audience.RELEASES, text=text)


def verified(report: Report) -> str:
    """What is known of a hotfix that all users have."""
    said = ["Smoke tests passed"]
    if report.lease.exploit_checks:
        said.append("the exploit is refused")
    if report.verdicts and report.verdicts[0].action is Action.PROMOTE:
        said.append("no elevated errors")
    elif report.verdicts:
        said.append(f"errors are not known ({report.verdicts[0].explanation})")
    return ", ".join(said)


def before_the_fix(check: ExploitCheck, status: int) -> str:
    """How ``check`` was answered without the fix. One that is refused then cannot show that the fix works."""
    said = f"before the fix, {check} answered {status}"
    return (
        f"{said}, which counts as refused: it cannot show that the fix works" if status in check.refused_with else said
    )


def live_after(lease: Lease, policy: Policy) -> str:
    """How long it took from the request until all users had it, against what the playbook allows."""
    if lease.requested_at_s is None or lease.bake_start_s is None:
        return "the time was not measured"
    took_s = lease.bake_start_s - lease.requested_at_s
    is_late = took_s > policy.hotfix_budget_s
    return f"after {minutes(took_s)} ({'⚠️ LATE: ' if is_late else ''}{minutes(policy.hotfix_budget_s)} allowed)"


def hotfix_debt(report: Report, policy: Policy) -> Ticket:
    """What a hotfix skipped, to be done afterwards. GitHub Markdown."""
    lease, asked = report.lease, request_of(report)
    owed = [
        f"- [ ] The canary was skipped ({policy.canary_percent} %, {minutes(policy.bake_s)}): compare the errors and "
        "latency of the hour after with the week before.",
        f"- [ ] {markdown(asked.incident)}: is a regression test in the suite?",
        "- [ ] Is the fix on `main`, so that the next release does not undo it?",
    ]
    owed += [f"- [ ] {markdown(str(item))}" for item in report.checklist if not item.is_met]
    owed += [] if asked.exploit else ["- [ ] No exploit check was given: show by hand that the hole is closed."]
    approved = f"Approved by {markdown(asked.approver)}: {markdown(asked.reason)} ({markdown(asked.incident)})."
    return Ticket(
        key=f"{lease.release_id}/debt",
        title=f"Follow-up of hotfix {lease.version}: what was skipped",
        severity=SEVERITY_OF[Event.FOLLOW_UP],
        body="\n".join((approved, "", *owed)),
        labels=("hotfix", "follow-up"),
    )
