"""What people read: Slack, PagerDuty, the ticket. Text from values, in the playbook's own words."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen
from playbook.claim import Claim
from playbook.matrix import Severity
from playbook.report import Report, rollback_plan
from playbook.verdict import Verdict


class Room(StrEnum):
    """Who is spoken to; the environment file says which channel that is."""

    RELEASES = "releases"
    INCIDENTS = "incidents"


class Message(Frozen):
    """One thing to say. ``key`` names the fact, so that it is said once however often it is tried."""

    key: str
    room: Room
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


def starting(claim: Claim, environment: str, at_s: float, bake_s: float, changes: str) -> Message:
    """Playbook 2: what `#releases` reads before anything moves."""
    text = "\n".join(
        (
            f"🚀 {environment.capitalize()} release starting at {clock(at_s)} UTC",
            f"Version: {claim.version}",
            f"Changes: {changes or 'not described'}",
            f"ETA: {minutes(2 * bake_s)} (canary) → {minutes(bake_s)} (promote to 100%)",
        )
    )
    return Message(key=f"{claim.release_id}/starting", room=Room.RELEASES, text=text)


def complete(claim: Claim, environment: str, watch_s: float) -> Message:
    """Playbook 3, step 3: the release reached everybody."""
    text = "\n".join(
        (
            f"✅ {environment.capitalize()} release complete",
            f"Version: {claim.version}",
            "Status: 100% traffic on new revision",
            f"Monitoring for {minutes(watch_s)}...",
        )
    )
    return Message(key=f"{claim.release_id}/complete", room=Room.RELEASES, text=text)


def rolled_back(report: Report) -> Message:
    """Playbook 4: users are back on what they had."""
    claim = report.claim
    text = "\n".join(
        (
            f"❌ {report.environment.upper()} ROLLBACK EXECUTED",
            f"Reason: {claim.reason}",
            f"Action: Rolled back {claim.version} to {stable_names(claim)} (previous stable)",
            f"Impact: {impact(report)}",
            "Next Steps: see the incident ticket; fix, pass staging, release again",
        )
    )
    return Message(key=f"{claim.release_id}/rolled-back", room=Room.RELEASES, text=text)


def interrupted(report: Report) -> Message:
    """Somebody's hand stopped the release: say what is where, since two people now act on one service."""
    claim = report.claim
    message = report.outcome.message if report.outcome else claim.reason
    text = f"⚠️ {report.environment.upper()} RELEASE INTERRUPTED\nVersion: {claim.version}\n{message}"
    return Message(key=f"{claim.release_id}/interrupted", room=Room.RELEASES, text=text)


def rollback_page(report: Report) -> Page:
    """Playbook 7: the on-call engineer hears of it after users are safe."""
    claim = report.claim
    return Page(
        key=claim.release_id,
        severity=severity(report),
        summary=f"{report.environment.capitalize()} deployment failure: {claim.version}. {claim.reason}"[:1024],
        details={
            "release": claim.release_id,
            "services": ", ".join(claim.services),
            "users are on": "; ".join(f"{part.service}: {part.stable}" for part in claim.parts),
            "impact": impact(report),
            "flow run": claim.flow_run_id,
        },
    )


def rollback_ticket(report: Report) -> Ticket:
    """Playbook 4, scenario 1: title and severity as written, the evidence in the body."""
    claim = report.claim
    return Ticket(
        key=f"{claim.release_id}/ticket",
        title=f"{report.environment.capitalize()} canary rollback triggered",
        severity=Severity.P2,
        body=f"Severity: P2 (high)\nRelease engineer: {claim.requested_by or 'unassigned'}\n\n{report.markdown()}",
        labels=("incident", Severity.P2.value),
    )


def asking(report: Report, url: str) -> Message:
    """A person is asked: why the judge cannot decide, and until when silence means revert."""
    claim, worst = report.claim, report.verdicts[0]
    until = clock(claim.gate_deadline_s or 0)
    text = "\n".join(
        (
            f"🖐 {report.environment.upper()} RELEASE HELD: your decision, until {until} UTC (silence reverts it)",
            f"Version: {claim.version}",
            f"Why: {worst.service}: {worst.explanation}",
            f"Decide: {url}",
        )
    )
    return Message(key=f"{claim.release_id}/asking/{len(claim.extensions_s)}", room=Room.INCIDENTS, text=text)


def scaled(report: Report, instances: int) -> Message:
    """Playbook 8: a slow p95 is answered with more instances first."""
    claim, worst = report.claim, report.verdicts[0]
    text = "\n".join(
        (
            f"📈 {worst.service} now keeps at least {instances} instances",
            f"Version: {claim.version}",
            f"Why: {worst.explanation}",
            "Next: if that does not help, the release is rolled back",
        )
    )
    return Message(key=f"{claim.release_id}/scaled", room=Room.RELEASES, text=text)


def alarm(claim: Claim, environment: str, verdict: Verdict) -> tuple[Page, Message]:
    """The hour after a promotion went bad: a person decides, and gets the command to take it back."""
    summary = f"{environment.capitalize()} {claim.version} turned bad after promotion: {verdict.explanation}"
    back = rollback_plan(claim)
    page = Page(
        key=f"{claim.release_id}/watch",
        severity=verdict.severity or Severity.P1,
        summary=summary[:1024],
        details={"the way back": back},
    )
    text = f"🔥 {summary}\nThe way back:\n```{back}```"
    return page, Message(key=f"{claim.release_id}/watch", room=Room.INCIDENTS, text=text)


def severity(report: Report) -> Severity:
    """What the judge's matrix says; a release that never reached a user is P2."""
    return (report.verdicts[0].severity if report.verdicts else None) or Severity.P2


def impact(report: Report) -> str:
    """Whom it hurt, in numbers that were measured."""
    if report.claim.bake_start_s is None and report.claim.decision.value == "REVERT" and not report.verdicts:
        return "none: no user reached the new revisions"
    errors = [signal for verdict in report.verdicts for signal in verdict.signals if signal.name == "errors"]
    failed, asked = sum(signal.bad or 0 for signal in errors), sum(signal.requests or 0 for signal in errors)
    return f"{report.claim.canary_percent} % of users on the canary; {failed:g} of their {asked:g} requests failed"


def stable_names(claim: Claim) -> str:
    """The revisions that users are back on."""
    return ", ".join(part.stable.main for part in claim.parts)


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
