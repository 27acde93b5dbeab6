"""What people read of a migration rollback: the page, the questions, what went wrong and how to go on."""

from collections.abc import Iterable, Mapping, Sequence
from string import Template

from playbook.claim import Claim
from playbook.incident import Contact, day, roll_call
from playbook.matrix import Severity
from playbook.messages import Message, Page, Room, Ticket, clock
from playbook.migration import Backup, Way


def closing(claim: Claim, environment: str, contacts: Mapping[str, Contact], url: str) -> Message:
    """Writes are about to be off: users will notice. Which roles to fill, whom to call (playbook 7), and where the run
    is seen.
    """
    plan = claim.undoing.plan
    people = roll_call(contacts)
    text = "\n".join(
        (
            f"🛑 {environment.upper()}: WRITES ARE BEING STOPPED",
            f"Why: {claim.reason}",
            f"What: {', '.join(plan.undo)} is taken back ({plan.way}); schema {plan.schema_now} → {plan.schema_after}",
            f"Services: {', '.join(claim.services)}",
            f"Requested by: {claim.requested_by}",
            *people,
            f"Run: {url}",
        )
    )
    return Message(key=f"{claim.release_id}/closing", room=Room.INCIDENTS, text=text)


def ticket(claim: Claim, environment: str, template: str, lines: Sequence[str], url: str) -> Ticket:
    """The incident's ticket (playbook 4, 7), with the draft of the post-mortem in it.

    ``template`` has the names of `string.Template`; ``lines`` are what has happened so far, as on the page.
    """
    plan = claim.undoing.plan
    began_s = claim.requested_at_s or float(claim.epoch)
    draft = Template(template).safe_substitute(
        title=f"{environment.capitalize()}: {', '.join(plan.undo)} was taken back",
        date=day(began_s),
        severity=Severity.P1.value,
        version=claim.version,
        services=", ".join(claim.services),
        stable=", ".join(f"{part.service}: {part.stable}" for part in claim.parts),
        reason=claim.reason,
        detection=f"reported by {claim.requested_by}",
        impact=f"no writes to {', '.join(claim.services)} from {clock(began_s)} UTC until they were on again",
        timeline="\n".join(f"| {line.replace(' UTC ', ' | ', 1)} |" for line in lines),
        errors="- not looked for: the data was wrong, see the reason",
    )
    folded = f"<details><summary>Draft of the post-mortem</summary>\n\n{draft}\n</details>"
    opening = f"Severity: {Severity.P1}\nRequested by: {claim.requested_by}\nRun: {url}"
    return Ticket(
        key=f"{claim.release_id}/ticket",
        title=f"{environment.capitalize()} migration rollback: {', '.join(plan.undo)}",
        severity=Severity.P1,
        body="\n\n".join((opening, folded, page(claim, environment, lines))),
        labels=("incident", Severity.P1.value),
    )


def done(claim: Claim, environment: str) -> Message:
    """Playbook 4, scenario 3, step 5: everything is open again."""
    serving = ", ".join(f"{part.service}: {part.stable}" for part in claim.parts)
    lines = [
        f"✅ {environment.upper()}: MIGRATION ROLLED BACK",
        f"Reason: {claim.reason}",
        f"Action: {', '.join(claim.undoing.plan.undo)} taken back; the database has schema "
        f"{claim.undoing.plan.schema_after}",
        f"Serving: {serving}",
    ]
    lines += [f"Agreed: {yes}" for yes in claim.undoing.agreed]
    return Message(key=f"{claim.release_id}/done", room=Room.RELEASES, text="\n".join(lines))


def declined(claim: Claim, environment: str) -> Message:
    """A person said no: whoever read that writes are stopped reads that they are on again, and that nothing changed."""
    text = "\n".join(
        (
            f"↩️ {environment.upper()}: WRITES ARE ON AGAIN, THE MIGRATION STAYS",
            f"Why: {claim.undoing.declined}",
            f"Not taken back: {', '.join(claim.undoing.plan.undo)}; the data was not touched",
            f"Services: {as_found(claim)}",
        )
    )
    return Message(key=f"{claim.release_id}/declined", room=Room.INCIDENTS, text=text)


def as_found(claim: Claim) -> str:
    """How the services of a claim that says no are open again."""
    measured = ", ".join(part.service for part in claim.parts if part.before)
    told = f"{', '.join(claim.services)}, as they were found"
    return f"{told}; the measure that was in force on {measured} is over" if measured else told


def go_on(environment: str) -> str:
    """How to go on from wherever it stopped."""
    return f"Start migration-rollback/{environment} again: it goes on from here."


def halted(claim: Claim, environment: str, why: str) -> Page:
    """Nothing goes on by itself, and ``why`` says whose writes are off: P1."""
    return Page(
        key=claim.release_id,
        severity=Severity.P1,
        summary=f"{environment.capitalize()} migration rollback stopped: {why}"[:1024],
        details={
            "release": claim.release_id,
            "services": ", ".join(claim.services),
            "how to go on": go_on(environment),
            "flow run": claim.flow_run_id,
        },
    )


def loss(backup: Backup, lost: Mapping[str, int]) -> str:
    """What a restore of ``backup`` forgets, in numbers that were counted."""
    counted = ", ".join(f"{count} in {name}" for name, count in lost.items()) or "none"
    return (
        f"Documents made or changed since the backup of {clock(backup.at_s)} UTC: **{counted}** (by their ids and by "
        "`updatedAt`; what was deleted, and changes without `updatedAt`, cannot be counted)."
    )


def ask_restore(claim: Claim, backup: Backup, lost: Mapping[str, int], target: str, why: str) -> str:
    """The first question: may the backup be restored beside production?"""
    return "\n\n".join(
        (
            f"## Restore the backup from before {', '.join(_undone(claim))}?",
            f"Why: {why}.",
            f"Backup `{backup.id}` would be restored to **{target}**. Everything on that cluster is removed first; "
            "production's own is not touched. You are asked again before production is pointed at it.",
            f"What would be lost once production uses it: {loss(backup, lost)}",
            "Writes are off while you decide. No answer means no.",
        )
    )


def ask_switch(claim: Claim, backup: Backup, lost: Mapping[str, int], target: str) -> str:
    """The second question: may production use what was restored?"""
    return "\n\n".join(
        (
            f"## Point production at {target}?",
            f"Backup `{backup.id}` is restored there and verified.",
            f"{', '.join(claim.services)} would get a new version of the connection secret and a revision that reads "
            f"it. **What is lost from then on:** {loss(backup, lost)}",
            "Writes are off while you decide. No answer means no.",
        )
    )


def asking(claim: Claim, environment: str, url: str) -> Message:
    """A person is asked, while users cannot write."""
    text = "\n".join(
        (
            f"🖐 {environment.upper()} MIGRATION ROLLBACK: your decision (silence means no; writes are off meanwhile)",
            f"Why: {claim.reason}",
            f"Decide: {url}",
        )
    )
    key = f"{claim.release_id}/asking/{claim.epoch}/{len(claim.undoing.agreed)}"
    return Message(key=key, room=Room.INCIDENTS, text=text)


def page(claim: Claim, environment: str, lines: Iterable[str]) -> str:
    """The page in the UI: what is done, how, and what has happened so far."""
    plan = claim.undoing.plan
    closed = claim.undoing.maintenance
    how = {Way.DOWN: "by its own `down`", Way.RESTORE: f"by restoring a backup ({plan.why})"}[plan.way]
    rows = [
        f"| {part.service} | {part.found or part.stable} | "
        f"{f'maintenance revision {closed[part.service]}' if part.service in closed else 'no instances'} | "
        f"{part.stable} |"
        for part in claim.parts
    ]
    return "\n\n".join(
        (
            f"# Taking back {', '.join(plan.undo)} in {environment}",
            f"{claim.reason} (requested by {claim.requested_by})",
            f"Schema {plan.schema_now} → {plan.schema_after}, {how}.",
            "\n".join(("| service | served | meanwhile | afterwards |", "|---|---|---|---|", *rows)),
            "## Timeline\n\n" + "\n".join(f"- {line}" for line in lines),
        )
    )


def _undone(claim: Claim) -> tuple[str, ...]:
    return claim.undoing.plan.undo
