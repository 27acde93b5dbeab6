"""Saying what happened.

Nothing here can fail or delay a release: what cannot be said now is said later by a run of its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from prefect import Task, get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.analysis.verdict import Verdict
from playbook.errors import ReleaseError
from playbook.incident.response import war_room
from playbook.lease.lease import Kind, Lease
from playbook.lease.record import Unreadable
from playbook.messages import chat as messages
from playbook.messages import hotfix
from playbook.messages.chat import Deployed, Message, Page, Resolution, Ticket
from playbook.messages.report import Report
from playbook.messages.set_aside import not_reverted, set_aside
from playbook.release.plan import Order
from playbook.release.request import MitigateRequest
from playbook.release.version import Version
from tasks.incident import incident_ticket, note_incident, open_incidents, run_url
from tasks.place import place_of
from tasks.retries import LATER, TELL
from tasks.start import form_link, start

Fact = Message | Page | Ticket | Resolution | Deployed
"""What can be said; each has a key, and is said once for it."""


@task(name="post", task_run_name="post to {message.room}", **TELL)
async def post(env: Environment, message: Message) -> None:
    """The message stands in its Slack channel, once: the channel is read first, since a reply may have been lost, or
    whoever had this release before may have said it.

    Raises: Transient (Slack is away), Refused (token, channel).
    """
    await env.slack.post(message, repeat=True)


@task(name="page", task_run_name="page {page.severity}", **TELL)
async def page(env: Environment, page: Page) -> None:
    """The on-call engineer is paged; the same key pages once."""
    if env.pagerduty is not None:
        await env.pagerduty.page(page)


@task(name="open ticket", task_run_name="open ticket", **TELL)
async def open_ticket(env: Environment, ticket: Ticket) -> str:
    """The incident's ticket exists. Returns its URL, or nothing where the environment names no GitHub."""
    return await env.github.ticket(ticket) if env.github is not None else ""


@task(name="resolve", task_run_name="resolve {resolution.key}", **TELL)
async def resolve(env: Environment, resolution: Resolution) -> None:
    """The page is over; resolving it twice is as good as once."""
    if env.pagerduty is not None:
        await env.pagerduty.resolve(resolution.key)


@task(name="sentry release", task_run_name="sentry release", **TELL)
async def mark_deployed(env: Environment, deployed: Deployed) -> None:
    """Sentry knows the version and that it is deployed here; telling it twice is as good as once."""
    if env.sentry is not None:
        await env.sentry.release(deployed.version, Version.parse(deployed.version).commit)


STEPS: dict[type[Fact], Task[..., Any]] = {
    Message: post,
    Page: page,
    Ticket: open_ticket,
    Resolution: resolve,
    Deployed: mark_deployed,
}


async def notify(env: Environment, fact: Fact) -> None:
    """Say it; if that fails, start an `announce` run for it, keyed by the fact, and show so in this run's log.

    One run takes a release through staging and production: what is said of one is not what is said of the other.
    """
    fact = fact.model_copy(update={"key": f"{env.name}/{fact.key}"})
    try:
        await STEPS[type(fact)](env, fact)
    except ReleaseError as unsaid:
        get_run_logger().warning("%s is said later: %s", fact.key, unsaid)
        kind = type(fact).__name__.lower()
        parameters = {"environment": env.name, kind: fact.model_dump(mode="json")}
        await start(f"announce/{env.name}", parameters, f"announce/{kind}/{fact.key}")


async def notify_with_retries(env: Environment, fact: Fact) -> None:
    """Say it, asking again for as long as `LATER` allows. Raises what the desk said last."""
    await STEPS[type(fact)].with_options(**LATER)(env, fact)


async def sentry_release(env: Environment, lease: Lease) -> None:
    """Sentry knows the release and that it is deployed here."""
    await notify(env, Deployed(key=lease.release_id, version=lease.version))


async def notify_starting(env: Environment, lease: Lease, order: Order, overridden: str = "") -> None:
    """`#releases` knows that a release begins, and why the checklist did not stop it where it should have."""
    bake_s = env.policy.bake_s
    await notify(env, messages.starting(lease, env.name, unix_s(), bake_s, order.changes, overridden))


async def notify_taken_up(env: Environment, lease: Lease) -> None:
    """`#releases` knows that a release begins, though its first process may have died before it could say so."""
    await notify(env, messages.starting(lease, env.name, unix_s(), env.policy.bake_s, changes=""))


async def notify_set_aside(env: Environment, aside: Sequence[Unreadable]) -> None:
    """The on-call engineer knows each service that the engine does nothing with, and why."""
    await asyncio.gather(*(notify(env, set_aside(one, env.name, place_of(env))) for one in aside))


async def notify_not_reverted(env: Environment, report: Report, why: str) -> None:
    """The on-call engineer knows at once that users are not back everywhere, and why."""
    await notify(env, not_reverted(report, why))


async def notify_complete(env: Environment, report: Report) -> None:
    """`#releases` knows that everybody has the new version; a hotfix's debt has its ticket; open incidents are over."""
    lease = report.lease
    facts: list[Fact] = [messages.complete(report, env.policy.watch_s if env.policy.bake_s else 0)]
    if lease.kind is Kind.HOTFIX:
        facts = [hotfix.hotfix_deployed(report, env.policy), hotfix.hotfix_debt(report, env.policy)]
    await asyncio.gather(*(notify(env, fact) for fact in facts), end_incidents(env, lease.coordinator))


async def end_incidents(env: Environment, coordinator: str) -> None:
    """Every page that is still open for this lead's releases is resolved: users have something good again."""
    keys = await open_incidents(env, coordinator)
    await asyncio.gather(*(notify(env, Resolution(key=key)) for key in keys))


async def notify_reverted(env: Environment, report: Report) -> None:
    """Whoever must act first is told first: the page, then the rooms, and the ticket once the logs have been read."""
    await notify(env, messages.rollback_page(report))

    async def ticket() -> None:
        await notify(env, await incident_ticket(env, report))

    channel = war_room(report, env.contacts, run_url(env, report.lease))
    await asyncio.gather(notify(env, messages.rolled_back(report)), notify(env, channel), ticket())


async def notify_given_way(env: Environment, report: Report) -> None:
    """`#releases` knows that a release was taken back for something that cannot wait. Nobody is woken for it."""
    await notify(env, messages.given_way(report))


async def notify_mitigated(env: Environment, request: MitigateRequest, serves: str) -> None:
    """`#incident-response` knows which measure is in force, who took it and why, and how to end it."""
    await notify(env, messages.mitigated(request, env.name, serves, str(runtime.flow_run.get_id())))


async def notify_interrupted(env: Environment, report: Report) -> None:
    """The on-call engineer and `#releases` know that somebody's hand stopped the release."""
    await notify(env, messages.rollback_page(report))
    await notify(env, messages.interrupted(report))


async def notify_asking(env: Environment, report: Report) -> None:
    """`#incident-response` knows that a person is asked, where, and until when."""
    await notify(env, messages.asking(report, f"{env.ui_url}/runs/flow-run/{report.lease.flow_run_id}"))


async def notify_holding(env: Environment, report: Report, services: Sequence[str]) -> None:
    """`#incident-response` knows that the canary waits for users, and until when."""
    await notify(env, messages.holding(report, services))


async def notify_noticed(env: Environment, lease: Lease, verdict: Verdict) -> None:
    """`#incident-response` knows what is seen of a canary, although nothing is decided yet."""
    await notify(env, messages.noticed(lease, env.name, verdict))


async def notify_scaled(env: Environment, report: Report, instances: int) -> None:
    """`#releases` knows that more instances were given."""
    await notify(env, messages.scaled(report, instances))


async def notify_alarm(env: Environment, lease: Lease, verdict: Verdict) -> None:
    """The on-call engineer and `#incident-response` know that a promoted release turned bad, with the filled-in form
    that takes it back."""
    filled = {"request": messages.alarm_rollback(lease, verdict), "environment": env.name}
    form = await form_link(env.ui_url, f"rollback/{env.name}", filled)
    for one in messages.alarm(lease, env.name, verdict, form):
        await notify(env, one)
    await note_incident(env, lease.coordinator, messages.alarm_key(lease))


async def start_watch(env: Environment, lease: Lease) -> None:
    """The hour of watching (playbook 3, step 3) goes on in a run of its own."""
    if env.policy.bake_s:
        parameters = {"environment": env.name, "lease": lease.model_dump(mode="json")}
        await start(f"watch/{env.name}", parameters, f"watch/{env.name}/{lease.release_id}")
