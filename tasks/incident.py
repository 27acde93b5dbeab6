"""What an incident needs beside the page: its errors, its ticket with the post-mortem's draft, and its end.

Nothing here can fail a release: what cannot be had is left out.
"""

import asyncio
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

from prefect import get_run_logger, task

from blocks.environment import Environment
from playbook import change, undoing
from playbook.claim import Claim, Kind, Part, Record
from playbook.errors import ReleaseError
from playbook.incident import Signature, findings, log_commands, new_signatures, postmortem
from playbook.messages import Ticket, rollback_ticket
from playbook.report import Report
from tasks.ensure import ensure
from tasks.retries import READ, TELL, WRITE

TEMPLATE = Path(__file__).resolve().parent.parent / "docs" / "playbooks" / "postmortem-template.md"
LINES = 100
"""The playbook's own limit for a look at the logs."""


@task(name="error signatures", task_run_name="error signatures", **TELL)
async def error_signatures(env: Environment, claim: Claim) -> tuple[Signature, ...]:
    """The errors of each new revision that its stable one does not have; none where the logs cannot be read."""
    answers = await asyncio.gather(*(_new_errors(env, claim, part) for part in claim.parts), return_exceptions=True)
    found: list[Signature] = []
    for answer in answers:
        if isinstance(answer, ReleaseError):
            get_run_logger().warning("no errors for the ticket: %s", answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += answer
    return tuple(sorted(found, key=lambda one: -one.count))


async def _new_errors(env: Environment, claim: Claim, part: Part) -> tuple[Signature, ...]:
    """A rollback looks at the hour before it; a release at what came since its claim, whose epoch is its time."""
    began_s = float(claim.epoch)
    since_s = began_s - env.policy.history_s if claim.kind is Kind.ROLLBACK else claim.bake_start_s or began_s
    new, old = await asyncio.gather(
        env.cloud_logging.errors(part.service, part.canary, since_s, LINES),
        env.cloud_logging.errors(part.service, part.stable.main, since_s - env.policy.history_s, LINES),
    )
    return new_signatures(part.service, new, old)


async def incident_ticket(env: Environment, report: Report) -> Ticket:
    """The ticket of a release that was taken back: evidence, new errors, links, and the draft of the post-mortem."""
    signatures = await error_signatures(env, report.claim)
    links = {"flow run": run_url(env, report.claim), **log_commands(report)}
    draft = postmortem(await _template(), report, signatures)
    folded = f"<details><summary>Draft of the post-mortem</summary>\n\n{draft}\n</details>"
    return rollback_ticket(report, findings(report, signatures, links), folded)


async def undoing_ticket(env: Environment, claim: Claim, lines: tuple[str, ...]) -> Ticket:
    """The ticket of a migration rollback: its page so far, and the draft of the post-mortem."""
    return undoing.ticket(claim, env.name, await _template(), lines, run_url(env, claim))


async def _template() -> str:
    try:
        return await asyncio.to_thread(TEMPLATE.read_text, encoding="utf-8")
    except OSError as missing:
        return f"(The template could not be read: {missing}.)\n\n$timeline"


def run_url(env: Environment, claim: Claim) -> str:
    """Where the run that holds ``claim`` is seen in the Prefect UI."""
    return f"{env.ui_url}/runs/flow-run/{claim.flow_run_id}"


@task(name="open incidents", task_run_name="open incidents", **READ)
async def _open_incidents(env: Environment, lead: str) -> tuple[str, ...]:
    return Record.read(await env.cloud_run.snapshot(lead)).incidents


async def open_incidents(env: Environment, lead: str) -> tuple[str, ...]:
    """The keys of the incidents of this lead's releases that nobody has ended; none where it cannot be read."""
    return await _or_nothing(_open_incidents(env, lead))


@task(name="note incident", task_run_name="note incident", **WRITE)
async def note_incident(env: Environment, lead: str, key: str) -> None:
    """The lead remembers that this incident is open. Traffic is not touched, and a claim that is on it stays."""
    await ensure(env, lead, partial(change.to_note_incident, incident=key))


async def _or_nothing(read: Awaitable[tuple[str, ...]]) -> tuple[str, ...]:
    try:
        return await read
    except ReleaseError as away:
        get_run_logger().warning("%s", away)
        return ()
