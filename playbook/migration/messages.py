"""What people read of a migration rollback: the page, the questions, what went wrong and how to go on."""

from collections.abc import Iterable, Mapping, Sequence
from string import Template

from playbook.incident.decision_matrix import SEVERITY_OF, Event
from playbook.incident.response import Call, Contact, roll_call
from playbook.lease.lease import MigrationLease
from playbook.messages.escape import code_span, markdown
from playbook.messages.facts import Audience, Message, Ticket
from playbook.messages.times import clock, day
from playbook.migration.loss import Loss
from playbook.migration.plan import Backup, MigrationRequest, RollbackPlan, Way
from playbook.migration.progress import progress_of


def closing(lease: MigrationLease, environment: str, contacts: Mapping[str, Contact], url: str) -> Message:
    """Writes are about to be off: users will notice. Which roles to fill, whom to call (playbook 7), and where the run
    is seen.
    """
    plan = progress_of(lease).plan
    people = roll_call(contacts, Call(SEVERITY_OF[Event.MIGRATION_ROLLBACK].value))
    text = "\n".join(
        (
            f"🛑 {environment.upper()}: WRITES ARE BEING STOPPED",
            f"Why: {lease.reason}",
            f"What: {', '.join(plan.undo)} is taken back ({plan.way}); schema {plan.schema_now} → {plan.schema_after}",
            f"Services: {', '.join(lease.services)}",
            f"Requested by: {lease.requested_by}",
            *people,
            f"Run: {url}",
        )
    )
    return Message(key=f"{lease.release_id}/closing", audience=Audience.INCIDENTS, text=text)


def ticket(lease: MigrationLease, environment: str, template: str, lines: Sequence[str], url: str) -> Ticket:
    """The incident's ticket (playbook 4, 7), with the draft of the post-mortem in it.

    ``template`` has the names of `string.Template`; ``lines`` are what has happened so far, as on the page.
    """
    plan = progress_of(lease).plan
    began_s = lease.requested_at_s or float(lease.epoch)
    values = {
        "title": f"{environment.capitalize()}: {', '.join(plan.undo)} was taken back",
        "date": day(began_s),
        "severity": SEVERITY_OF[Event.MIGRATION_ROLLBACK].value,
        "version": lease.version,
        "services": ", ".join(lease.services),
        "stable": ", ".join(f"{rollout.service}: {rollout.to_revision}" for rollout in lease.rollouts),
        "reason": lease.reason,
        "detection": f"reported by {lease.requested_by}",
        "impact": f"no writes to {', '.join(lease.services)} from {clock(began_s)} UTC until they were on again",
    }
    draft = Template(template).safe_substitute(
        {name: markdown(value) for name, value in values.items()},
        timeline="\n".join(f"| {' | '.join(map(markdown, line.split(' UTC ', 1)))} |" for line in lines),
        errors="- not looked for: the data was wrong, see the reason",
    )
    folded = f"<details><summary>Draft of the post-mortem</summary>\n\n{draft}\n</details>"
    opening = (
        f"Severity: {SEVERITY_OF[Event.MIGRATION_ROLLBACK]}\nRequested by: {markdown(lease.requested_by)}\nRun: {url}"
    )
    return Ticket(
        key=f"{lease.release_id}/ticket",
        title=f"{environment.capitalize()} migration rollback: {', '.join(plan.undo)}",
        severity=SEVERITY_OF[Event.MIGRATION_ROLLBACK],
        body="\n\n".join((opening, folded, page(lease, environment, lines))),
        labels=("incident", SEVERITY_OF[Event.MIGRATION_ROLLBACK].value),
    )


def done(lease: MigrationLease, environment: str) -> Message:
    """Playbook 4, scenario 3, step 5: everything is open again."""
    serving = ", ".join(f"{rollout.service}: {rollout.to_revision}" for rollout in lease.rollouts)
    lines = [
        f"✅ {environment.upper()}: MIGRATION ROLLED BACK",
        f"Reason: {lease.reason}",
        f"Action: {', '.join(progress_of(lease).plan.undo)} taken back; the database has schema "
        f"{progress_of(lease).plan.schema_after}",
        f"Serving: {serving}",
    ]
    lines += [f"Agreed: {yes}" for yes in progress_of(lease).agreed]
    if kept := kept_words(lease).removeprefix("; "):
        lines.append(f"Kept: {kept}")
    return Message(key=f"{lease.release_id}/done", audience=Audience.RELEASES, text="\n".join(lines))


def declined(lease: MigrationLease, environment: str) -> Message:
    """A person said no: those who read that writes are off now read that they are on, and that nothing changed."""
    text = "\n".join(
        (
            f"↩️ {environment.upper()}: WRITES ARE ON AGAIN, THE MIGRATION STAYS",
            f"Why: {progress_of(lease).declined}",
            f"Not taken back: {', '.join(progress_of(lease).plan.undo)}; the data was not touched",
            f"Services: {as_found(lease)}",
        )
    )
    return Message(key=f"{lease.release_id}/declined", audience=Audience.INCIDENTS, text=text)


def as_found(lease: MigrationLease) -> str:
    """How the services of a lease that says no are open again."""
    measured = ", ".join(rollout.service for rollout in lease.rollouts if rollout.before_mitigation)
    told = f"{', '.join(lease.services)}, as they were found"
    return f"{told}; the measure that was in force on {measured} is over" if measured else told


def loss(backup: Backup, lost: Mapping[str, int | None]) -> str:
    """What a restore of ``backup`` forgets, in numbers that were counted."""
    said = {name: "an unknown number (counting took too long)" if n is None else str(n) for name, n in lost.items()}
    counted = ", ".join(f"{count} in {markdown(name)}" for name, count in said.items()) or "none"
    return (
        f"Documents made or changed since the backup of {clock(backup.at_s)} UTC: **{counted}** (by their ids and by "
        "`updatedAt`; what was deleted, and changes without `updatedAt`, cannot be counted)."
    )


def ask_restore(lease: MigrationLease, backup: Backup, lost: Mapping[str, int | None], target: str, why: str) -> str:
    """The first question: may the backup be restored beside production?"""
    return "\n\n".join(
        (
            f"## Restore the backup from before {markdown(', '.join(_undone(lease)))}?",
            f"Why: {markdown(why)}.",
            f"Backup {code_span(backup.id)} would be restored to **{markdown(target)}**. Everything on that cluster is "
            "removed first; production's own is not touched. You are asked again before production is pointed at it.",
            f"What would be lost once production uses it: {loss(backup, lost)}",
            "Writes are off while you decide. No answer means no.",
        )
    )


def ask_switch(lease: MigrationLease, backup: Backup, lost: Mapping[str, int | None], target: str) -> str:
    """The second question: may production use what was restored?"""
    return "\n\n".join(
        (
            f"## Point production at {markdown(target)}?",
            f"Backup {code_span(backup.id)} is restored there and verified.",
            f"{markdown(', '.join(lease.services))} would get a new version of the connection secret and a revision "
            f"that reads it. **What is lost from then on:** {loss(backup, lost)}",
            "Writes are off while you decide. No answer means no.",
        )
    )


KEEPS = (
    "The old values are copied to the collection `playbook_kept` first, one document for each that loses one "
    "(docs/migrations.md says how to put them back)."
)
KEEPS_NOT = "Only a backup will have the lost values: `keep_old_values` is off in the environment file."


def kept_words(lease: MigrationLease) -> str:
    """What is said of the old values that were kept; empty where there are none."""
    count = progress_of(lease).kept
    return f"; old values of {count} documents are kept in playbook_kept, as {lease.release_id}" if count else ""


def ask_down(plan: RollbackPlan, request: MigrationRequest, losses: Sequence[Loss], *, is_kept: bool) -> str:
    """The question before a ``down`` that loses data: what is lost, counted, and whether the old values are kept."""
    lost = "\n".join(f"- {markdown(str(one))}" for one in losses) or "- no field of any document"
    return "\n\n".join(
        (
            f"## Take back {markdown(', '.join(plan.undo))}?",
            f"Why: {markdown(request.reason)} (requested by {markdown(request.requested_by)}).",
            f"Schema {plan.schema_now} → {plan.schema_after}. **What is lost:**",
            lost,
            KEEPS if is_kept else KEEPS_NOT,
            "Nothing was touched yet, and users can write while you decide. No answer means no.",
        )
    )


def ask_several(plan: RollbackPlan) -> str:
    """The second question, where more than one migration is taken back at once."""
    names = "\n".join(f"{number}. {markdown(name)}" for number, name in enumerate(plan.undo, 1))
    return "\n\n".join(
        (
            f"## Take back all {len(plan.undo)} migrations?",
            f"The one that was asked for is the oldest. These go, in this order:\n\n{names}",
            "Nothing was touched yet. No answer means no.",
        )
    )


def asking_before(plan: RollbackPlan, request: MigrationRequest, environment: str, url: str, number: int) -> Message:
    """A person is asked, and nothing was touched yet."""
    text = "\n".join(
        (
            f"🖐 {environment.upper()} MIGRATION ROLLBACK: your decision (no answer means no; nothing was touched yet)",
            f"Why: {request.reason}",
            f"What: {', '.join(plan.undo)} would be taken back",
            f"Decide: {url}",
        )
    )
    key = f"migration-{plan.undo[-1]}/asking-before/{url.rsplit('/', 1)[-1]}/{number}"
    return Message(key=key, audience=Audience.INCIDENTS, text=text)


def asking(lease: MigrationLease, environment: str, url: str) -> Message:
    """A person is asked, while users cannot write."""
    text = "\n".join(
        (
            f"🖐 {environment.upper()} MIGRATION ROLLBACK: your decision (no answer means no; writes are off meanwhile)",
            f"Why: {lease.reason}",
            f"Decide: {url}",
        )
    )
    key = f"{lease.release_id}/asking/{lease.epoch}/{len(progress_of(lease).agreed)}"
    return Message(key=key, audience=Audience.INCIDENTS, text=text)


def page(lease: MigrationLease, environment: str, lines: Iterable[str]) -> str:
    """The page in the UI: what is done, how, and what has happened so far."""
    plan = progress_of(lease).plan
    closed = lease.maintenance
    how = {Way.DOWN: "by its own `down`", Way.RESTORE: f"by restoring a backup ({markdown(plan.why)})"}[plan.way]
    rows = [
        f"| {markdown(rollout.service)} | {markdown(str(rollout.found))} | "
        f"{f'maintenance revision {closed[rollout.service]}' if rollout.service in closed else 'no instances'} | "
        f"{markdown(rollout.to_revision)} |"
        for rollout in lease.rollouts
    ]
    return "\n\n".join(
        (
            f"# Taking back {markdown(', '.join(plan.undo))} in {environment}",
            f"{markdown(lease.reason)} (requested by {markdown(lease.requested_by)})",
            f"Schema {plan.schema_now} → {plan.schema_after}, {how}.",
            "\n".join(("| service | served | meanwhile | afterwards |", "|---|---|---|---|", *rows)),
            "## Timeline\n\n" + "\n".join(f"- {markdown(line)}" for line in lines),
        )
    )


def _undone(lease: MigrationLease) -> tuple[str, ...]:
    return progress_of(lease).plan.undo
