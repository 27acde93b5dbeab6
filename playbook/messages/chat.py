"""What people read: Slack, PagerDuty, the ticket. Text from values, in the playbook's own words."""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import Field

from playbook.analysis.verdict import Verdict
from playbook.base import Frozen
from playbook.incident.decision_matrix import MATRIX, Severity, Symptom, row_for
from playbook.lease.lease import Decision, Kind, Lease, RollbackLease
from playbook.messages.report import Report, rollback_plan
from playbook.release.outcome import ReleaseOutcome
from playbook.release.request import Measure, MitigateRequest


class Channel(StrEnum):
    """Who is spoken to; the environment file says which channel that is."""

    RELEASES = "releases"
    INCIDENTS = "incidents"


class Message(Frozen):
    """One thing to say. ``key`` names the fact, so that it is said once however often it is tried."""

    key: str
    channel: Channel
    text: str


class Page(Frozen):
    """Wake somebody. ``key`` is PagerDuty's dedup key: the release's id, so that one incident is one incident."""

    key: str
    severity: Severity
    summary: str
    details: dict[str, str] = Field(default_factory=dict)


class Ticket(Frozen):
    """An incident ticket (playbook 4, scenario 1). ``key`` is written into its body, to find it again."""

    key: str
    title: str
    severity: Severity
    body: str
    labels: tuple[str, ...] = ("incident",)


class Deployed(Frozen):
    """A version reached everybody: what Sentry is told."""

    key: str
    version: str


class Resolution(Frozen):
    """An incident is over: the page with this key is resolved."""

    key: str


def starting(lease: Lease, environment: str, at_s: float, bake_s: float, changes: str, overridden: str = "") -> Message:
    """Playbook 2: what `#releases` reads before anything moves. ``overridden`` is why the checklist does not hold."""
    eta = f"{minutes(2 * bake_s)} (canary) → {minutes(bake_s)} (promote to 100%)"
    lines = [
        f"🚀 {environment.capitalize()} release starting at {clock(at_s)} UTC",
        f"Version: {lease.version}",
        f"Changes: {changes or 'not described'}",
        f"ETA: {eta if bake_s else 'when its smoke tests have passed (no canary phase)'}",
    ]
    if overridden:
        lines.append(f"⚠️ Checklist overridden by {lease.requested_by or 'somebody unnamed'}: {overridden}")
    text = "\n".join(lines)
    return Message(key=f"{lease.release_id}/starting", channel=Channel.RELEASES, text=text)


def complete(report: Report, watch_s: float) -> Message:
    """Playbook 3, step 3: the release reached everybody, and on what evidence. ``watch_s`` is 0 where nobody watches it
    afterwards.

    Where the judge could not decide alone, the reason is told too: who took the responsibility, and why.
    """
    lease, environment = report.lease, report.environment
    lines = [
        f"✅ {environment.capitalize()} release complete",
        f"Version: {lease.version}",
        "Status: 100% traffic on new revision",
    ]
    if lease.gate_deadline_s:
        lines.append(f"Decided: {lease.reason}")
    if watch_s:
        lines.append(f"Monitoring for {minutes(watch_s)}...")
    lines += [f"{verdict.service}: {verdict.explanation}" for verdict in report.verdicts]
    text = "\n".join(lines)
    return Message(key=f"{lease.release_id}/complete", channel=Channel.RELEASES, text=text)


def rolled_back(report: Report) -> Message:
    """Playbook 4: users are back on what they had."""
    lease = report.lease
    text = "\n".join(
        (
            f"❌ {report.environment.upper()} ROLLBACK EXECUTED",
            f"Reason: {lease.reason}",
            f"Action: Rolled back {lease.version} to {stable_names(lease)} ({which(lease)} stable)",
            f"Impact: {impact(report)}",
            f"Next Steps: {next_steps(report)}",
        )
    )
    return Message(key=f"{lease.release_id}/rolled-back", channel=Channel.RELEASES, text=text)


def given_way(report: Report) -> Message:
    """Whoever waits for a release reads why it ended, and that its users are where they were."""
    lease = report.lease
    text = "\n".join(
        (
            f"✋ {report.environment.upper()} RELEASE GAVE WAY",
            f"Version: {lease.version}",
            f"Reason: {lease.given_way_to} cannot wait",
            f"Action: users are back on {stable_names(lease)}; release {lease.version} again afterwards",
        )
    )
    return Message(key=f"{lease.release_id}/gave-way", channel=Channel.RELEASES, text=text)


def mitigated(request: MitigateRequest, environment: str, serves: str, run: str) -> Message:
    """Playbook 7: which measure is in force, by whom and why, and how it is ended. ``run`` makes it one fact."""
    is_over = request.measure is Measure.RESTORE
    text = "\n".join(
        (
            f"🩹 {environment.upper()} {'RESTORED' if is_over else 'MITIGATED'}: {request.measure} {request.service}",
            f"Reason: {request.reason} ({request.requested_by})",
            f"Now: {serves}",
            *(() if is_over else (f"The way back: start mitigate/{environment} with restore {request.service}",)),
        )
    )
    return Message(key=f"mitigate/{run}", channel=Channel.INCIDENTS, text=text)


def interrupted(report: Report) -> Message:
    """Somebody's hand stopped the release: say what is where, since two people now act on one service."""
    lease = report.lease
    message = report.outcome.message if report.outcome else lease.reason
    text = f"⚠️ {report.environment.upper()} RELEASE INTERRUPTED\nVersion: {lease.version}\n{message}"
    return Message(key=f"{lease.release_id}/interrupted", channel=Channel.RELEASES, text=text)


def rollback_page(report: Report) -> Page:
    """Playbook 7: the on-call engineer hears of it after users are safe."""
    lease = report.lease
    return Page(
        key=lease.release_id,
        severity=severity(report),
        summary=f"{report.environment.capitalize()} deployment failure: {lease.version}. {lease.reason}"[:1024],
        details={
            "release": lease.release_id,
            "services": ", ".join(lease.services),
            "users are on": "; ".join(f"{rollout.service}: {lease.fallback(rollout)}" for rollout in lease.rollouts),
            "impact": impact(report),
            "flow run": lease.flow_run_id,
        },
    )


def rollback_ticket(report: Report, *more: str) -> Ticket:
    """Playbook 4, scenario 1: title and severity as written, the evidence in the body. ``more`` is markdown."""
    lease = report.lease
    level = severity(report) if lease.kind is Kind.ROLLBACK else Severity.P2
    title = {Kind.RELEASE: "canary rollback triggered", Kind.HOTFIX: "hotfix rolled back"}.get(
        lease.kind, f"rollback of {lease.version}"
    )
    engineer = lease.requested_by or "unassigned"
    opening = f"Severity: {level}{' (high)' if level is Severity.P2 else ''}\nRelease engineer: {engineer}"
    return Ticket(
        key=f"{lease.release_id}/ticket",
        title=f"{report.environment.capitalize()} {title}",
        severity=level,
        body="\n\n".join((opening, *more, report.markdown())),
        labels=("incident", level.value),
    )


def asking(report: Report, url: str) -> Message:
    """A person is asked: why the judge cannot decide, and until when silence means revert."""
    lease, worst = report.lease, report.verdicts[0]
    until = clock(lease.gate_deadline_s or 0)
    text = "\n".join(
        (
            f"🖐 {report.environment.upper()} RELEASE HELD: your decision, until {until} UTC (silence reverts it)",
            f"Version: {lease.version}",
            f"Why: {worst.service}: {worst.explanation}",
            f"Decide: {url}",
        )
    )
    return Message(key=f"{lease.release_id}/asking/{len(lease.extensions_s)}", channel=Channel.INCIDENTS, text=text)


def holding(report: Report, services: Sequence[str]) -> Message:
    """The canary waits for users: which services lack them, and until when."""
    lease = report.lease
    text = "\n".join(
        (
            f"⏳ {report.environment.upper()} RELEASE HELD for requests, until {clock(lease.gate_deadline_s or 0)} UTC "
            "(without them it is reverted)",
            f"Version: {lease.version}",
            *(f"Why: {v.service}: {v.explanation}" for v in report.verdicts if v.service in services),
            "Nobody is asked: the policy says to wait",
        )
    )
    return Message(key=f"{lease.release_id}/holding/{len(lease.extensions_s)}", channel=Channel.INCIDENTS, text=text)


def noticed(lease: Lease, environment: str, verdict: Verdict) -> Message:
    """Something that people should know while the bake goes on, although it decides nothing yet."""
    text = "\n".join(
        (
            f"👀 {environment.upper()} CANARY: look at {verdict.service}",
            f"Version: {lease.version}",
            f"Seen: {verdict.explanation}",
            "Nothing is decided yet",
        )
    )
    return Message(key=f"{lease.release_id}/noticed/{verdict.reason}", channel=Channel.INCIDENTS, text=text)


def scaled(report: Report, instances: int) -> Message:
    """Playbook 8: a slow p95 is answered with more instances first."""
    lease, worst = report.lease, report.verdicts[0]
    text = "\n".join(
        (
            f"📈 {worst.service} now keeps at least {instances} instances",
            f"Version: {lease.version}",
            f"Why: {worst.explanation}",
            "Next: if that does not help, the release is rolled back",
        )
    )
    return Message(key=f"{lease.release_id}/scaled", channel=Channel.RELEASES, text=text)


def alarm(lease: Lease, environment: str, verdict: Verdict, form: str) -> tuple[Page, Message]:
    """The hour after a promotion went bad: a person decides, and gets the filled-in form and the command to take it
    back.

    ``form`` is the link to the form, or what to start by hand.
    """
    summary = f"{environment.capitalize()} {lease.version} turned bad after promotion: {verdict.explanation}"
    back = rollback_plan(lease)
    page = Page(
        key=alarm_key(lease),
        severity=verdict.severity or Severity.P1,
        summary=summary[:1024],
        details={"roll back": form, "the way back": back},
    )
    text = f"🔥 {summary}\nRoll back: {form}\nBy hand:\n```{back}```"
    return page, Message(key=alarm_key(lease), channel=Channel.INCIDENTS, text=text)


def alarm_key(lease: Lease) -> str:
    """The key of the page that says a promoted release turned bad."""
    return f"{lease.release_id}/watch"


def alarm_rollback(lease: Lease, verdict: Verdict) -> dict[str, str]:
    """The rollback form as an alarm fills it in."""
    row = row_for(verdict.reason)
    symptom = row.symptom if row else Symptom.ERRORS_IN_BAND
    reason = f"{lease.version} turned bad after promotion: {verdict.explanation}"
    return {"symptom": symptom.value, "reason": reason[:500]}


def severity(report: Report) -> Severity:
    """What the matrix says of what was judged or reported; a release that never reached a user is P2."""
    lease = report.lease
    if isinstance(lease, RollbackLease):
        return MATRIX[lease.request.symptom].severity
    return (lease.measured.severity if lease.measured else None) or Severity.P2


def impact(report: Report) -> str:
    """Whom it hurt, in numbers that were measured; where none were, it says so."""
    lease, seen = report.lease, report.lease.measured
    if lease.kind is Kind.ROLLBACK:
        return f"all users had {lease.version} until it was taken back"
    came_to = lease.came_to or lease.decision
    if came_to is Decision.DEPLOY:
        return "none: no user reached the new revisions"
    is_everybody = came_to is Decision.PROMOTE
    users = f"{100 if is_everybody else lease.canary_percent} % of users on the new revisions"
    if came_to is Decision.REVERT:  # decided by a version of ours that did not write it down
        users = "how far it had come is not known"
    hurt = "how many of their requests failed was not measured"
    if seen is not None and seen.requests:
        whose = "the canary's" if is_everybody and lease.kind is Kind.RELEASE else "their"
        hurt = f"{seen.failed} of {whose} {seen.requests} requests failed"
    return f"{users}; {hurt}"


def stable_names(lease: Lease) -> str:
    """What users are back on: the release where it is written down, else the revisions."""
    names = (rollout.back_to.name if rollout.back_to else lease.fallback(rollout).main for rollout in lease.rollouts)
    return ", ".join(dict.fromkeys(names))


def which(lease: Lease) -> str:
    """Whether users are back on what was before, or on what a person has named."""
    return "named" if isinstance(lease, RollbackLease) and lease.request.to else "previous"


def next_steps(report: Report) -> str:
    """What is to be done now."""
    if report.outcome is not None and report.outcome.end in (ReleaseOutcome.UNFIT, ReleaseOutcome.INTERRUPTED):
        return f"LOOK AT ONCE: {report.outcome.message}"
    return "see the incident ticket; fix, pass staging, release again"


def clock(at_s: float) -> str:
    """``14:00`` for a unix time, in UTC."""
    return f"{int(at_s) // 3600 % 24:02d}:{int(at_s) // 60 % 60:02d}"


def minutes(seconds: float) -> str:
    """``15 minutes``, ``1 hour``, ``20 seconds``: whole units, the largest that fits."""
    for size, unit in ((3600, "hour"), (60, "minute")):
        if seconds >= size and seconds % size == 0:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    if seconds >= 60:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds:.0f} seconds"
