"""How people are told.

Nothing here can fail or delay a release: what cannot be said now is said later by a run of its own.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from prefect import Task, get_run_logger, task

from blocks.environment import Environment
from playbook.errors import Refused, ReleaseError, Transient
from playbook.messages.facts import Deployed, Message, Page, Recorded, Resolution, TakenBack, Ticket
from playbook.messages.status import linked
from playbook.release.version import Version
from tasks import status
from tasks.each_service import finish_all
from tasks.retries import LATER, NOTIFY, TELL
from tasks.start import start

Fact = Message | Page | Ticket | Resolution | Deployed | Recorded | TakenBack
"""What can be said; each has a key, and is said once for it."""

TRY_S = 5
"""One try to say something may take so long. A release waits for its messages, and a vendor may hang."""


@contextlib.asynccontextmanager
async def _within_a_try(to: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TRY_S):
            yield
    except TimeoutError as slow:
        raise Transient(f"{to or 'it'} did not answer within {TRY_S} s. Ask again.") from slow


@task(name="post", task_run_name="post to {message.audience} ({env.name})", **NOTIFY)
async def post(env: Environment, message: Message, to: str) -> None:
    """The message stands in the channel ``to``, once.

    It may stand there already: the reply to the try before may be lost, or the release's process died after it.
    Raises: Transient (the channel is away), Refused (its token, the place in it).
    """
    for channel in env.channels:
        if channel.name == to:
            async with _within_a_try(to):
                await channel.post(linked(message, status.address(env)), repeat=True)


@task(name="page", task_run_name="page {page.severity} ({env.name})", **NOTIFY)
async def page(env: Environment, page: Page, to: str) -> None:
    """The on-call engineer is paged through the pager ``to``; the same key pages once."""
    for pager in env.pagers:
        if pager.name == to:
            async with _within_a_try(to):
                await pager.page(page)


@task(name="resolve", task_run_name="resolve {resolution.key} ({env.name})", **NOTIFY)
async def resolve(env: Environment, resolution: Resolution, to: str) -> None:
    """The page is over in the pager ``to``; resolving it twice is as good as once."""
    for pager in env.pagers:
        if pager.name == to:
            async with _within_a_try(to):
                await pager.resolve(resolution.key)


@task(name="open ticket", task_run_name="open ticket ({env.name})", **TELL)
async def open_ticket(env: Environment, ticket: Ticket, to: str = "") -> str:
    """The incident's ticket exists. Returns its URL, or nothing where the environment keeps no tickets."""
    return await env.tickets.ticket(ticket) if env.tickets is not None else ""


@task(name="mark deployed", task_run_name="mark deployed in {env.name}", **TELL)
async def mark_deployed(env: Environment, deployed: Deployed, to: str = "") -> None:
    """The release tracker knows the version and that it is deployed here; telling it twice is as good as once."""
    if env.release_tracker is not None:
        await env.release_tracker.release(deployed.version, Version.parse(deployed.version).commit)


@task(name="take back", task_run_name="mark {taken.version} taken back in {env.name}", **TELL)
async def mark_taken_back(env: Environment, taken: TakenBack, to: str = "") -> None:
    """The release tracker knows that the version was taken back; telling it twice is as good as once."""
    if env.release_tracker is not None:
        async with _within_a_try("the release tracker"):
            await env.release_tracker.take_back(taken, Version.parse(taken.version).commit)


@task(name="record deployment", task_run_name="record deployment in {env.name}: {recorded.state}", **NOTIFY)
async def record_deployment(env: Environment, recorded: Recorded, to: str = "") -> None:
    """The code host shows how the release stands; telling it twice is as good as once."""
    if env.code_host is not None:
        async with _within_a_try("the code host"):
            await env.code_host.record(recorded)


STEPS: dict[type[Fact], Task[..., Any]] = {
    Message: post,
    Page: page,
    Ticket: open_ticket,
    Resolution: resolve,
    Deployed: mark_deployed,
    Recorded: record_deployment,
    TakenBack: mark_taken_back,
}


def recipients(env: Environment, fact: Fact) -> tuple[str, ...]:
    """The names of those who are told ``fact``, each on its own; "" where there is only one of a kind."""
    match fact:
        case Message():
            return tuple(channel.name for channel in env.channels)
        case Page():
            return tuple(pager.name for pager in env.pagers if env.routing.calls(pager.name, fact))
        case Resolution():
            return tuple(pager.name for pager in env.pagers)
        case Ticket():
            return ("",) if env.tickets is not None else ()
        case Recorded():
            return ("",) if env.code_host is not None else ()
        case Deployed() | TakenBack():
            return ("",) if env.release_tracker is not None else ()


async def notify(env: Environment, fact: Fact) -> str:
    """Tell every recipient, side by side: one that is slow or away delays no other. Returns the address of what was
    made, which a ticket has.

    What cannot be said now is said by an `announce` run, and this run's log shows so. One flow run takes a release
    through staging and production, so the environment is part of the fact's key.
    """
    facts = env.routing.copies(fact) if isinstance(fact, Message) else (fact,)
    keyed = [one.model_copy(update={"key": f"{env.name}/{one.key}"}) for one in facts]
    made = await asyncio.gather(*(_tell(env, one, to) for one in keyed for to in recipients(env, one)))
    return next(filter(None, made), "")


async def _tell(env: Environment, fact: Fact, to: str) -> str:
    try:
        return str(await STEPS[type(fact)](env, fact, to) or "")
    except ReleaseError as unsaid:
        get_run_logger().warning("%s will be sent later by an announce run: %s", fact.key, unsaid)
        kind = type(fact).__name__.lower()
        try:
            signature = await env.signer.sign_words("announce", words_of(fact, to))
        except Refused as unsigned:
            get_run_logger().error("%s will not be sent: %s", fact.key, unsigned)
            return ""
        fields = {kind: fact.model_dump(mode="json"), "to": to, "signature": signature}
        key = "/".join(filter(None, ("announce", kind, fact.key, to)))
        await start(f"announce/{env.name}", {"environment": env.name, **fields}, key)
        return ""


def words_of(fact: Fact, to: str) -> str:
    """What an `announce` run says and to whom, as it is signed: it says nothing else."""
    return f"{type(fact).__name__} {fact.model_dump_json()} {to}"


async def notify_with_retries(env: Environment, fact: Fact, to: str = "") -> None:
    """Tell ``to`` (empty: every recipient), asking again for as long as `LATER` allows. Raises the last error of the
    first that could not be told."""
    step = STEPS[type(fact)].with_options(**LATER)
    await finish_all(step(env, fact, one) for one in recipients(env, fact) if to in ("", one))
