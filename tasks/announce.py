"""What people are told of a release, and who: one function for each occasion that takes more than a message."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

from prefect import events, get_run_logger, runtime

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.analysis.verdict import Verdict
from playbook.checklist.items import Item
from playbook.errors import BadRequest, Refused
from playbook.lease.lease import Decision, HotfixLease, Kind, Lease, RollbackLease
from playbook.lease.record import Aside, Unreadable
from playbook.messages import chat as messages
from playbook.messages import hotfix, not_started
from playbook.messages import page as pages
from playbook.messages.facts import Page, Resolution, TakenBack
from playbook.messages.hold import question
from playbook.messages.not_started import WITHOUT_A_WRITE, Asked
from playbook.messages.release_page import headline
from playbook.messages.report import Report
from playbook.messages.server_notices import UNTOLD
from playbook.messages.set_aside import key_unreadable, late_promotion, not_reverted, set_aside
from playbook.messages.watch import watch_of
from playbook.messages.words import stable_names
from playbook.release.outcome import FlowResult
from playbook.release.plan import Order
from playbook.release.request import MitigateRequest
from playbook.release.version import VERSION
from playbook.text import clean
from tasks.incident import incident_ticket, note_incident, open_incidents, refused_before
from tasks.notify import Fact, notify, recipients
from tasks.report import page_url, show_page
from tasks.served import users_of
from tasks.start import form_link, start

UNTOLD_MAX = 900


async def track_taken_back(env: Environment, lease: Lease) -> None:
    """The release tracker knows that users had the version, and that it was taken back from them."""
    came_to = lease.came_to or lease.decision
    had_users = lease.kind is Kind.ROLLBACK or came_to in (Decision.BAKE, Decision.PROMOTE)
    if not (had_users and VERSION.fullmatch(lease.version)):
        return
    now_s, back_on = unix_s(), stable_names(lease)
    taken = TakenBack(
        key=f"{lease.release_id}/taken-back",
        release_id=lease.release_id,
        version=lease.version,
        back_on=back_on if VERSION.fullmatch(back_on) else "",
        reason=lease.reason,
        from_s=min(lease.bake_start_s or float(lease.epoch), now_s),
        until_s=now_s,
        url=env.run_url(lease.flow_run_id),
    )
    await notify(env, taken)


async def notify_starting(env: Environment, report: Report, order: Order, items: tuple[Item, ...] = ()) -> None:
    """`#releases` knows that a release begins, what the checks said, who has overridden which, and the forecast."""
    lease, bake_s = report.lease, report.lease.policy(env.policy).bake_s
    told = messages.starting(lease, env.name, unix_s(), bake_s, order.changes, items, report.forecasts)
    await notify(env, told)


async def notify_late(env: Environment, order: Order, late_s: float) -> None:
    """`#releases` knows that a release starts long after its time, and where to let it go on."""
    version, overrides = str(order.version), order.overrides
    await notify(env, not_started.late(env.name, version, late_s, overrides, _until_s(env), this_run(env)))


async def notify_approval(env: Environment, order: Order, items: tuple[Item, ...]) -> None:
    """`#releases` knows that a release waits for a person before production is touched."""
    await notify(env, not_started.approval(env.name, str(order.version), items, _until_s(env), this_run(env)))


def _until_s(env: Environment) -> float:
    return unix_s() + env.gates.approval_deadline_s


def this_run(env: Environment) -> str:
    """Where this run is seen in the Prefect UI."""
    return env.run_url(runtime.flow_run.get_id())


def planned_words(env: Environment, report: Report, order: Order, changes: str) -> tuple[str, ...]:
    """What a release would say where all goes well: at its start, and at its end."""
    lease = report.lease
    if lease.kind is Kind.HOTFIX:
        return (hotfix.hotfix_deployed(report, env.policy).text,)
    bake_s = lease.policy(env.policy).bake_s
    words = order.changes or changes
    start = messages.starting(lease, env.name, unix_s(), bake_s, words, report.checklist, report.forecasts)
    return start.text, messages.complete(report, env.policy.watch_s if bake_s else 0).text


async def notify_not_started(environment: str, asked: Asked, outcome: FlowResult) -> None:
    """People know that a run ended before its first write, and the on-call engineer where users wait for it. Other
    outcomes have their own messages.

    The run ends as it would have where the environment cannot be opened: then the Prefect server tells it.
    """
    if outcome.end not in WITHOUT_A_WRITE or outcome.is_declined:
        return
    try:
        env = await Environment.open(environment)
    except (BadRequest, *PREFECT_AWAY) as unknown:
        get_run_logger().warning("no channel is told: %s", unknown)
        run = {"prefect.resource.id": f"playbook.untold.{runtime.flow_run.get_id()}"}
        said = f"{asked.what} to {environment} ended {outcome.end}: {outcome.message}"
        events.emit_event(UNTOLD, resource={**run, "prefect.resource.name": clean(said, UNTOLD_MAX)})
        return
    url = this_run(env)
    page = not_started.not_started_page(outcome, env.name, asked, url) if env.is_production else None
    await notify(env, not_started.not_started(outcome, env.name, asked, url))
    if page is not None:
        await notify(env, page)


async def notify_taken_up(env: Environment, lease: Lease) -> None:
    """`#releases` knows that a release begins, though its first process may have died before it could say so."""
    await notify(env, messages.starting(lease, env.name, unix_s(), lease.policy(env.policy).bake_s, changes=""))


async def notify_set_aside(env: Environment, aside: Sequence[Unreadable]) -> None:
    """The on-call engineer knows each service that the engine does nothing with, and why; a key that cannot be read is
    one reason for all of them."""
    users = await users_of(env, {one.service for one in aside if one.why is not Aside.UNCHECKED})
    pages_due = {page.key: page for page in (_page_of(env, one, users) for one in aside)}
    await asyncio.gather(*(notify(env, page) for page in pages_due.values()))


def _page_of(env: Environment, one: Unreadable, users: Mapping[str, str]) -> Page:
    if one.why is Aside.UNCHECKED:
        return key_unreadable(one.problem, env.name)
    return set_aside(one, env.name, env.gcloud_flags, {one.service: users[one.service]})


async def notify_late_promotion(env: Environment, lease: Lease, why: str) -> None:
    """The on-call engineer knows that a release stands half promoted and waits for a person."""
    await notify(env, late_promotion(lease, env.name, why, await users_of(env, lease.services)))


async def notify_not_reverted(env: Environment, report: Report, why: str) -> None:
    """The on-call engineer knows at once that users are not back everywhere, and why."""
    await notify(env, not_reverted(report, why, await users_of(env, report.lease.services)))


async def notify_hotfix_started(env: Environment, report: Report) -> None:
    """`#incident-response` and those who are called for security know that a hotfix is on its way to all users."""
    await asyncio.gather(
        notify(env, hotfix.hotfix_started(report, env.contacts, this_run(env))),
        notify(env, hotfix.hotfix_page(report, this_run(env))),
    )


async def notify_complete(env: Environment, report: Report) -> None:
    """`#releases` knows that all users have it; a hotfix's debt has its ticket; open incidents are over."""
    lease = report.lease
    facts: list[Fact] = [messages.complete(report, env.policy.watch_s if env.policy.bake_s else 0)]
    if lease.kind is Kind.HOTFIX:
        facts = [hotfix.hotfix_deployed(report, env.policy), hotfix.hotfix_debt(report, env.policy)]
        page = hotfix.hotfix_page(report, this_run(env))
        if recipients(env, page):
            facts.append(Resolution(key=page.key))
    await asyncio.gather(*(notify(env, fact) for fact in facts), end_incidents(env, lease))


async def end_incidents(env: Environment, lease: Lease) -> None:
    """Every page that is still open for releases of these services is resolved: users are on a good release again. So
    are those about refused runs that asked for what ``lease`` has done."""
    found = await asyncio.gather(*(open_incidents(env, service) for service in lease.services))
    keys = dict.fromkeys(key for of_one in found for key in of_one)
    ended: list[Awaitable[object]] = [notify(env, Resolution(key=key)) for key in keys]
    match lease:
        case HotfixLease():
            ended.append(end_refused(env, "hotfix", "version", lease.version))
        case RollbackLease():
            is_whole = set(env.service_names) <= set(lease.services)
            ended.append(end_refused(env, "rollback", "to", *(() if is_whole else (lease.request.to,))))
    await asyncio.gather(*ended)


async def end_refused(env: Environment, flow: str, field: str, *done: str) -> None:
    """The pages about refused runs of ``flow`` are resolved where the ``field`` of their request is one of ``done``
    (none: whatever it is). What another one was refused for may last."""
    refused = await refused_before(env, flow) if env.is_production else {}
    same = [run for run, asked in refused.items() if not done or asked.get(field, "") in done]
    pages_of = (not_started.refused_key(env.run_url(run)) for run in same)
    await asyncio.gather(*(notify(env, Resolution(key=key)) for key in dict.fromkeys(pages_of)))


async def notify_reverted(env: Environment, report: Report) -> None:
    """Those who must act first are told first: the page, then the rooms, and the ticket once the logs are read. The
    release's page leads to the ticket."""
    await notify(env, pages.rollback_page(report))

    async def ticket() -> str:
        return await notify(env, await incident_ticket(env, report))

    channel = messages.war_room(report, env.contacts, env.run_url(report.lease.flow_run_id))
    *_, url = await asyncio.gather(notify(env, messages.rolled_back(report)), notify(env, channel), ticket())
    if url:
        await show_page(report.linked("ticket", url), f"{headline(report)}; the ticket is open")


async def notify_mitigated(env: Environment, request: MitigateRequest, serves: str) -> None:
    """`#incident-response` knows which measure is in force, who took it and why, how to end it, and whether its effect
    is watched."""
    watch = watch_of(request, env.policy.watch_s, env.policy.bake_s)
    await notify(env, messages.mitigated(request, env.name, serves, str(runtime.flow_run.get_id()), watch))


async def notify_nothing_to_restore(env: Environment, request: MitigateRequest, serves: str) -> None:
    """`#incident-response` knows that no measure is in force: a run that was lost may have restored it untold."""
    await notify(env, messages.nothing_to_restore(request, env.name, serves, str(runtime.flow_run.get_id())))


async def notify_interrupted(env: Environment, report: Report) -> None:
    """The on-call engineer and `#releases` know that an out-of-band change stopped the release."""
    await notify(env, pages.rollback_page(report))
    await notify(env, messages.interrupted(report))


async def notify_asking(env: Environment, report: Report) -> None:
    """`#incident-response` knows that a person is asked, where, and until when."""
    lines = question(report, page_url(env, report.key)).lines
    await notify(env, messages.asking(report, lines, env.run_url(report.lease.flow_run_id)))


async def notify_alarm(env: Environment, lease: Lease, verdict: Verdict, measure: str = "") -> None:
    """The on-call engineer and `#incident-response` know that what users have turned bad, with the filled-in form that
    takes it back; ``measure`` is the mitigation that is watched."""
    filled = {"request": pages.alarm_rollback(lease, verdict, measure), "environment": env.name}
    form = await form_link(env.ui_url, f"rollback/{env.name}", filled)
    await notify(env, pages.alarm_page(lease, env.name, verdict, form, measure))
    await notify(env, messages.alarm(lease, env.name, verdict, form, measure))
    await note_incident(env, lease.coordinator, pages.alarm_key(lease))


async def start_watch(env: Environment, lease: Lease) -> None:
    """The hour of watching (playbook 3, step 3) goes on in a run of its own: after a promotion, and after users went
    back from a revision that they had reached."""
    came_to = lease.came_to or lease.decision
    reached = lease.kind is Kind.ROLLBACK or not lease.is_back or came_to in (Decision.BAKE, Decision.PROMOTE)
    if env.policy.bake_s and reached:
        await begin_watch(env, lease)


async def begin_watch(env: Environment, lease: Lease, measure: str = "") -> None:
    """A run of its own watches what users have since they were moved, or since the ``measure`` of a mitigation."""
    try:
        signature = await env.signer.sign_words("watch", watch_words(lease, measure))
    except Refused as unsigned:
        get_run_logger().error("%s will not be watched: %s", lease.release_id, unsigned)
        return
    parameters = {"environment": env.name, "lease": lease.model_dump(mode="json"), "signature": signature}
    more = {"measure": measure} if measure else {}
    await start(f"watch/{env.name}", parameters | more, f"watch/{env.name}/{lease.release_id}")


def watch_words(lease: Lease, measure: str) -> str:
    """What a `watch` run looks at and would say, as it is signed."""
    return f"{lease.stored()} {measure}" if measure else lease.stored()
