"""What people read: Slack, PagerDuty, the ticket. Text from values, in the playbook's own words."""

from enum import StrEnum

from pydantic import Field

from playbook.base import Frozen
from playbook.claim import Claim


class Room(StrEnum):
    """Who is spoken to; the environment file says which channel that is."""

    RELEASES = "releases"
    INCIDENTS = "incidents"


class Severity(StrEnum):
    """The playbook's severities (section 8)."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


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


def rolled_back(claim: Claim, environment: str, impact: str, next_steps: str) -> Message:
    """Playbook 4: users are back on what they had."""
    back_to = ", ".join(sorted({part.stable.main for part in claim.parts}))
    text = "\n".join(
        (
            f"❌ {environment.upper()} ROLLBACK EXECUTED",
            f"Reason: {claim.reason} ({claim.version})",
            f"Action: Rolled back to {back_to} (previous stable)",
            f"Impact: {impact}",
            f"Next Steps: {next_steps}",
        )
    )
    return Message(key=f"{claim.release_id}/rolled-back", room=Room.RELEASES, text=text)


def rollback_page(claim: Claim, environment: str, severity: Severity, run_url: str) -> Page:
    """Playbook 7: the on-call engineer hears of it after users are safe."""
    return Page(
        key=claim.release_id,
        severity=severity,
        summary=f"{environment.capitalize()} deployment failure: {claim.version} reverted. {claim.reason}",
        details={
            "release": claim.release_id,
            "services": ", ".join(claim.services),
            "users are on": "; ".join(f"{part.service}: {part.stable}" for part in claim.parts),
            "run": run_url,
        },
    )


def rollback_ticket(claim: Claim, environment: str, severity: Severity, report: str) -> Ticket:
    """Playbook 4, scenario 1: title and severity as written, the evidence in the body."""
    return Ticket(
        key=f"{claim.release_id}/ticket",
        title=f"{environment.capitalize()} canary rollback triggered",
        severity=severity,
        body=f"Severity: {severity} (high)\nRelease: {claim.release_id}\nRelease engineer: {claim.requested_by or 'unassigned'}\n\n{report}",
        labels=("incident", severity.value),
    )


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
