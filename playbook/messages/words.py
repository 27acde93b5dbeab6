"""What several messages say of one release: how bad it was, whom it hurt, what users have now, what to do next."""

from playbook.analysis.telemetry_checks import is_about_telemetry
from playbook.analysis.verdict import Verdict
from playbook.incident.decision_matrix import MATRIX, SEVERITY_OF, Event, Severity
from playbook.lease.lease import Decision, Kind, Lease, RollbackLease
from playbook.messages.plan import canary_share
from playbook.messages.report import Report
from playbook.release.outcome import ReleaseOutcome

ASKS = " A person decides when the bake ends."
"""What a verdict says of a bake that goes on."""


def measured(verdict: Verdict) -> str:
    """What was measured, without what happens when the bake ends: it is over, or there is none."""
    return verdict.explanation.partition(ASKS)[0]


def severity(report: Report) -> Severity:
    """What the matrix says of what was judged or reported; a release that never reached a user is P2."""
    lease = report.lease
    if isinstance(lease, RollbackLease):
        return MATRIX[lease.request.symptom].severity
    return (lease.measured.severity if lease.measured else None) or SEVERITY_OF[Event.NO_USER_REACHED]


def impact(report: Report) -> str:
    """Which users it reached and how many requests failed, as far as that was measured."""
    lease, seen = report.lease, report.lease.measured
    if lease.kind is Kind.ROLLBACK:
        return f"all users had {lease.version} until it was rolled back"
    came_to = lease.came_to or lease.decision
    if came_to is Decision.DEPLOY:
        return "none: no user reached the new revisions"
    is_all_users = came_to is Decision.PROMOTE
    users = f"{'100 %' if is_all_users else canary_share(lease)} of users on the new revisions"
    if came_to is Decision.REVERT:  # decided by a version of ours that did not write it down
        users = "share of users on the new revisions not known"
    failed = "failed requests were not measured"
    if seen is not None and seen.requests:
        whose = "the canary's" if is_all_users and lease.kind is Kind.RELEASE else "their"
        failed = f"{seen.failed:,} of {whose} {seen.requests:,} requests failed"
    return f"{users}; {failed}"


def users_now(lease: Lease) -> str:
    """Where users are while a release waits."""
    match lease.decision:
        case Decision.DEPLOY:
            return "all on what they had; no user is on the new revisions"
        case Decision.BAKE:
            return f"{canary_share(lease)} on the new revisions, which are watched meanwhile"
        case _:
            return "some services may serve the new revision to all users, others to a share"


def stable_names(lease: Lease) -> str:
    """What users are back on: the release where it is written down, else the revisions."""
    names = (rollout.back_to.name if rollout.back_to else lease.fallback(rollout).main for rollout in lease.rollouts)
    return ", ".join(dict.fromkeys(names))


def one_name(lease: Lease) -> str:
    """The same where there is room for one name only: the page's table has the others."""
    names = stable_names(lease)
    return "what they had before" if ", " in names else names


def which(lease: Lease) -> str:
    """Whether users are back on what was before, or on what a person has named."""
    return "named" if isinstance(lease, RollbackLease) and lease.request.to else "previous"


def next_steps(report: Report) -> str:
    """What to do now."""
    if report.outcome is not None and report.outcome.end in (ReleaseOutcome.UNFIT, ReleaseOutcome.INTERRUPTED):
        return f"CHECK AT ONCE: {report.outcome.message}"
    if is_about_telemetry(report.lease.reason):
        return "correct the metrics (see the reason), run the flight check, release the same version again"
    return "see the incident ticket; fix, pass staging, release again"
