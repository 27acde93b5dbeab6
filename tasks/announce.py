"""Saying what happened.

Nothing here can fail or delay a release: what cannot be said now is said later by a run of its own.
"""

import time

from prefect import get_run_logger, task

from blocks.environment import Environment
from playbook import messages
from playbook.claim import Claim
from playbook.errors import ReleaseError
from playbook.messages import Message, Page, Ticket
from playbook.plan import Order
from playbook.release import Version
from playbook.report import Report
from playbook.verdict import Verdict
from tasks.retries import LATER, TELL
from tasks.start import start


@task(name="post", task_run_name="post to {message.room}", **TELL)
async def post(env: Environment, message: Message, repeat: bool = False) -> None:
    """The message stands in its Slack channel, once; a ``repeat`` looks for it first.

    Raises: Transient (Slack is away), Refused (token, channel).
    """
    await env.slack.post(message, repeat=repeat)


@task(name="page", task_run_name="page {page.severity}", **TELL)
async def page(env: Environment, page: Page) -> None:
    """The on-call engineer is paged; the same key pages once."""
    if env.pagerduty is not None:
        await env.pagerduty.page(page)


@task(name="open ticket", **TELL)
async def open_ticket(env: Environment, ticket: Ticket) -> str:
    """The incident's ticket exists. Returns its URL, or nothing where the environment names no GitHub."""
    return await env.github.ticket(ticket) if env.github is not None else ""


@task(name="sentry release", **TELL)
async def _sentry_release(env: Environment, claim: Claim) -> None:
    if env.sentry is not None:
        await env.sentry.release(claim.version, Version.parse(claim.version).commit)


async def sentry_release(env: Environment, claim: Claim) -> None:
    """Sentry knows the release and that it is deployed here; a Sentry that is away is only noted."""
    try:
        await _sentry_release(env, claim)
    except ReleaseError as unsaid:
        get_run_logger().warning("Sentry does not know %s: %s", claim.version, unsaid)


async def tell(env: Environment, one: Message | Page | Ticket) -> None:
    """Say it; if that fails, start an `announce` run for it, keyed by the fact, and show so in this run's log."""
    try:
        match one:
            case Message():
                await post(env, one)
            case Page():
                await page(env, one)
            case Ticket():
                await open_ticket(env, one)
    except ReleaseError as unsaid:
        get_run_logger().warning("%s is said later: %s", one.key, unsaid)
        kind = type(one).__name__.lower()
        parameters = {"environment": env.name, kind: one.model_dump(mode="json")}
        await start(f"announce/{env.name}", parameters, f"announce/{env.name}/{kind}/{one.key}")


async def insist(env: Environment, one: Message | Page | Ticket) -> None:
    """Say it, asking again for as long as `LATER` allows; looks first whether it was said after all.

    Raises what the desk said last.
    """
    match one:
        case Message():
            await post.with_options(**LATER)(env, one, repeat=True)
        case Page():
            await page.with_options(**LATER)(env, one)
        case Ticket():
            await open_ticket.with_options(**LATER)(env, one)


async def say_starting(env: Environment, claim: Claim, order: Order) -> None:
    """`#releases` knows that a release begins."""
    await tell(env, messages.starting(claim, env.name, time.time(), env.policy.bake_s, order.changes))


async def say_complete(env: Environment, claim: Claim) -> None:
    """`#releases` knows that everybody has the new version."""
    await tell(env, messages.complete(claim, env.name, env.policy.watch_s))


async def say_reverted(env: Environment, report: Report) -> None:
    """Page, ticket, then `#releases`: in the order of who must act first."""
    await tell(env, messages.rollback_page(report))
    await tell(env, messages.rollback_ticket(report))
    await tell(env, messages.rolled_back(report))


async def say_interrupted(env: Environment, report: Report) -> None:
    """The on-call engineer and `#releases` know that somebody's hand stopped the release."""
    await tell(env, messages.rollback_page(report))
    await tell(env, messages.interrupted(report))


async def say_asking(env: Environment, report: Report) -> None:
    """`#incident-response` knows that a person is asked, where, and until when."""
    await tell(env, messages.asking(report, f"{env.ui_url}/runs/flow-run/{report.claim.flow_run_id}"))


async def say_scaled(env: Environment, report: Report) -> None:
    """`#releases` knows that more instances were given."""
    await tell(env, messages.scaled(report, env.policy.scale_max_instances))


async def say_alarm(env: Environment, claim: Claim, verdict: Verdict) -> None:
    """The on-call engineer and `#incident-response` know that a promoted release turned bad."""
    for one in messages.alarm(claim, env.name, verdict):
        await tell(env, one)


async def start_watch(env: Environment, claim: Claim) -> None:
    """The hour of watching (playbook 3, step 3) goes on in a run of its own."""
    if env.policy.bake_s:
        parameters = {"environment": env.name, "claim": claim.model_dump(mode="json")}
        await start(f"watch/{env.name}", parameters, f"watch/{env.name}/{claim.release_id}")
