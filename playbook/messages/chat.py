"""What people read in the chat channels, in the playbook's own words. Plain text: each channel escapes it."""

from collections.abc import Mapping, Sequence

from playbook.analysis.forecast import Forecast
from playbook.analysis.verdict import Reason, Verdict
from playbook.checklist.items import Item
from playbook.incident.response import Contact, roll_call
from playbook.lease.lease import Lease
from playbook.messages.checklist import chat_lines, overridden
from playbook.messages.facts import Audience, Message
from playbook.messages.forecast import sentence
from playbook.messages.page import alarm_key, alarm_summary, calls_of
from playbook.messages.plan import rollback_plan
from playbook.messages.report import Report
from playbook.messages.routing import mentions
from playbook.messages.times import clock, clock_s, minutes
from playbook.messages.words import impact, measured, next_steps, severity, stable_names, users_now, which
from playbook.release.request import Measure, MitigateRequest


def starting(
    lease: Lease,
    environment: str,
    at_s: float,
    bake_s: float,
    changes: str,
    items: Sequence[Item] = (),
    forecasts: Sequence[Forecast] = (),
) -> Message:
    """Playbook 2: what `#releases` reads before anything moves, with the checks, every override, and the commands that
    take it back by hand.

    A forecast is told where it changed the canary, or where the bake will not be enough.
    """
    eta = f"{minutes(bake_s)} (canary) → promote to 100%"
    lines = [
        f"🚀 {environment.capitalize()} release starting at {clock(at_s)} UTC",
        f"Version: {lease.version}",
        f"Changes: {changes or 'not described'}",
        f"ETA: {eta if bake_s else '100% as soon as the smoke tests pass (no canary phase)'}",
    ]
    lines += [f"Forecast: {sentence(one)}" for one in forecasts if one.is_news]
    lines += chat_lines(items) or overridden(lease.overrides)
    for rollout in lease.rollouts:
        does = "takes along" if rollout.takes_template else "leaves out"
        if rollout.drift:
            lines.append(
                f"⚠️ {rollout.service}: {does} what a person changed in its template: {'; '.join(rollout.drift)}"
            )
    lines.append(f"To take it back while Prefect is down:\n```\n{rollback_plan(lease)}\n```")
    text = "\n".join(lines)
    return Message(key=f"{lease.release_id}/starting", audience=Audience.RELEASES, text=text)


def complete(report: Report, watch_s: float) -> Message:
    """Playbook 3, step 3: all users have the release, and on what evidence. ``watch_s`` is 0 where it is not watched.

    Where a person decided, it says who and why.
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
    lines += overridden(lease.overrides)
    lines += [f"{verdict.service}: {verdict.explanation}" for verdict in report.verdicts]
    text = "\n".join(lines)
    return Message(key=f"{lease.release_id}/complete", audience=Audience.RELEASES, text=text)


def rolled_back(report: Report) -> Message:
    """Playbook 4: users are back on what they had."""
    lease = report.lease
    text = "\n".join(
        (
            f"❌ {report.environment.upper()} ROLLBACK EXECUTED",
            f"Reason: {lease.reason}",
            f"Action: Rolled back {lease.version} to {stable_names(lease)} ({which(lease)} stable)",
            f"Impact: {impact(report)}",
            *((f"Left:{report.left}",) if report.left else ()),
            *overridden(lease.overrides),
            f"Next Steps: {next_steps(report)}",
        )
    )
    return Message(key=f"{lease.release_id}/rolled-back", audience=Audience.RELEASES, text=text)


def given_way(report: Report) -> Message:
    """A release was reverted to make way for something urgent."""
    lease = report.lease
    text = "\n".join(
        (
            f"✋ {report.environment.upper()} RELEASE GAVE WAY",
            f"Version: {lease.version}",
            f"Reason: {lease.given_way_to} has priority",
            f"Action: all users are back on {stable_names(lease)}. Release {lease.version} again afterwards",
            *overridden(lease.overrides),
        )
    )
    return Message(key=f"{lease.release_id}/gave-way", audience=Audience.RELEASES, text=text)


def mitigated(request: MitigateRequest, environment: str, serves: str, run: str, watch: str) -> Message:
    """Playbook 7: which measure is in force, by whom and why, whether its effect is watched, and how it is ended.

    ``run`` makes it one fact.
    """
    is_over = request.measure is Measure.RESTORE
    text = "\n".join(
        (
            f"🩹 {environment.upper()} {'RESTORED' if is_over else 'MITIGATED'}: {request.measure} {request.service}",
            f"Reason: {request.reason} ({request.requested_by})",
            f"Now: {serves}",
            f"Watch: {watch}",
            *(() if is_over else (f"To end it: start mitigate/{environment} with restore {request.service}",)),
        )
    )
    return Message(key=f"mitigate/{run}", audience=Audience.INCIDENTS, text=text)


def nothing_to_restore(request: MitigateRequest, environment: str, serves: str, run: str) -> Message:
    """A restore found no measure in force. ``run`` makes it one fact."""
    text = "\n".join(
        (
            f"🩹 {environment.upper()} HAS NOTHING TO RESTORE: {request.service}",
            f"Reason: {request.reason} ({request.requested_by})",
            f"Now: {serves}",
        )
    )
    return Message(key=f"mitigate/{run}", audience=Audience.INCIDENTS, text=text)


def interrupted(report: Report) -> Message:
    """Another change to a service stopped the release: what serves where, since two people now act on one service."""
    lease = report.lease
    message = report.outcome.message if report.outcome else lease.reason
    lines = (f"⚠️ {report.environment.upper()} RELEASE INTERRUPTED", f"Version: {lease.version}", message)
    text = "\n".join((*lines, *overridden(lease.overrides)))
    return Message(key=f"{lease.release_id}/interrupted", audience=Audience.RELEASES, text=text)


def asking(report: Report, lines: Sequence[str], url: str) -> Message:
    """A person is asked; ``lines`` are the question, as the form shows it. No answer reverts the release."""
    lease, until = report.lease, clock(report.lease.gate_deadline_s or 0)
    text = "\n".join(
        (
            f"🖐 {report.environment.upper()} RELEASE HELD: decide until {until} UTC, or it is reverted",
            *lines,
            f"Decide: {url}",
        )
    )
    return Message(key=f"{lease.release_id}/asking/{len(lease.extensions_s)}", audience=Audience.INCIDENTS, text=text)


def paused(report: Report, url: str) -> Message:
    """A person paused the release in Prefect's UI: until when it waits, and where it is resumed."""
    lease = report.lease
    until = clock_s(lease.pause.until_s if lease.pause else 0)
    text = "\n".join(
        (
            f"⏸ {report.environment.upper()} RELEASE PAUSED until {until} UTC; then it is reverted",
            f"Version: {lease.version}",
            f"Users: {users_now(lease)}",
            *overridden(lease.overrides),
            f"Resume or cancel it: {url}",
        )
    )
    return Message(key=f"{lease.release_id}/paused/{lease.epoch}", audience=Audience.INCIDENTS, text=text)


def resumed(report: Report, url: str) -> Message:
    """A person resumed the release: it goes on from where it was."""
    lease = report.lease
    text = "\n".join(
        (
            f"▶️ {report.environment.upper()} RELEASE RESUMED: it goes on",
            f"Version: {lease.version}",
            *overridden(lease.overrides),
            f"Run: {url}",
        )
    )
    return Message(key=f"{lease.release_id}/resumed/{lease.epoch}", audience=Audience.INCIDENTS, text=text)


def holding(report: Report, services: Sequence[str]) -> Message:
    """The canary waits, for requests or until stable is well: which services, why, and until when."""
    lease, until = report.lease, clock(report.lease.gate_deadline_s or 0)
    held = [verdict for verdict in report.verdicts if verdict.service in services]
    is_shared = any(verdict.reason is Reason.SHARED_CAUSE for verdict in held)
    what, without = ("stable", "if stable is not well by then,") if is_shared else ("requests", "without them")
    text = "\n".join(
        (
            f"⏳ {report.environment.upper()} RELEASE HELD for {what}, until {until} UTC; {without} it is reverted",
            f"Version: {lease.version}",
            *(f"Why: {verdict.service}: {verdict.explanation}" for verdict in held),
            *overridden(lease.overrides),
            f"No decision is needed now: the policy waits {'until stable is well' if is_shared else 'for requests'}",
        )
    )
    return Message(key=f"{lease.release_id}/holding/{len(lease.extensions_s)}", audience=Audience.INCIDENTS, text=text)


def noticed(lease: Lease, environment: str, verdict: Verdict, *, in_watch: bool = False) -> Message:
    """Something that people should know while the bake or the watch goes on, although it decides nothing yet."""
    text = "\n".join(
        (
            f"👀 {environment.upper()} {'WATCH' if in_watch else 'CANARY'}: look at {verdict.service}",
            f"After: {lease.version} was {'taken back' if lease.is_back else 'promoted'}"
            if in_watch
            else f"Version: {lease.version}",
            f"Measured: {measured(verdict) if in_watch else verdict.explanation}",
            *overridden(lease.overrides),
            f"No {'alarm' if in_watch else 'decision'} yet: the {'watch' if in_watch else 'bake'} goes on",
        )
    )
    where = "watch-noticed" if in_watch else "noticed"
    return Message(key=f"{lease.release_id}/{where}/{verdict.reason}", audience=Audience.INCIDENTS, text=text)


def scaled(report: Report, instances: int) -> Message:
    """Playbook 8: a slow p95 is answered with more instances first."""
    lease, worst = report.lease, report.verdicts[0]
    text = "\n".join(
        (
            f"📈 {worst.service} now keeps at least {instances} instances",
            f"Version: {lease.version}",
            f"Why: {worst.explanation}",
            *overridden(lease.overrides),
            "Next: if that does not help, the release is rolled back",
        )
    )
    return Message(key=f"{lease.release_id}/scaled", audience=Audience.RELEASES, text=text)


def alarm(lease: Lease, environment: str, verdict: Verdict, form: str, measure: str = "") -> Message:
    """What users have turned bad: a person decides, with the filled-in form or the command to roll back.

    ``form`` is the link to the form, or what to start by hand; ``measure`` the mitigation since which it is so.
    """
    summary = alarm_summary(lease, environment, verdict, measure)
    by_hand = "" if lease.is_back or measure else f"\nBy hand:\n```{rollback_plan(lease)}```"
    further = " (name the release to go back to in 'to')" if lease.is_back else ""
    known = "".join(f"\n{line}" for line in overridden(lease.overrides))
    text = f"🔥 {summary}{known}\nRoll back{further}: {form}{by_hand}"
    return Message(key=alarm_key(lease), audience=Audience.INCIDENTS, text=text)


def war_room(report: Report, contacts: Mapping[str, Contact], run_url: str) -> Message:
    """Playbook 7: what happened, that users are safe, which roles to fill, whom to call."""
    lease = report.lease
    text = "\n".join(
        (
            f"🚨 {severity(report)} {report.environment.upper()} INCIDENT: {lease.version} was rolled back",
            f"Reason: {lease.reason}",
            f"Users: all back on {stable_names(lease)}. Impact: {impact(report)}",
            *overridden(lease.overrides),
            *roll_call(contacts, *calls_of(report)),
            f"Run: {run_url}",
        )
    )
    return Message(
        key=f"{lease.release_id}/war-room",
        audience=Audience.INCIDENTS,
        text=text,
        mentions=mentions(contacts, calls_of(report)),
    )
