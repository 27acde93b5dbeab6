"""What an incident needs beside the page: its errors, its ticket with the post-mortem's draft, and its end.

Nothing here can fail a release: what cannot be had is left out.
"""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.client import orchestration
from prefect.client.schemas import filters
from prefect.client.schemas.sorting import FlowRunSort

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import ReleaseError
from playbook.incident.response import Signature, assignee, new_signatures
from playbook.lease import change
from playbook.lease.lease import Kind, Lease, ServiceRollout
from playbook.lease.record import Record
from playbook.messages.facts import Ticket
from playbook.messages.page import calls_of
from playbook.messages.report import Report
from playbook.messages.ticket import causes, findings, folded, log_commands, postmortem, rollback_ticket
from playbook.release.outcome import ReleaseOutcome
from playbook.release.version import is_version
from tasks.checklist import secrets_state
from tasks.each_service import settle
from tasks.ensure import ensure
from tasks.links import commits_of, commits_url
from tasks.retries import READ, TELL, WRITE, step

TEMPLATE = Path(__file__).resolve().parent.parent / "docs" / "playbooks" / "postmortem-template.md"
LOOK_S = 10
"""A ticket waits so long for a system that it quotes."""
LATELY_S, REFUSED_MAX = 7 * 86_400.0, 20
"""Pages about so many refused runs of so many seconds are looked at when what they asked for is done."""
LINES = 100
"""The playbook's own limit for a look at the logs."""


@step("error signatures", **TELL)
async def error_signatures(env: Environment, lease: Lease) -> tuple[Signature, ...]:
    """The errors of each new revision that its stable one does not have; none where the logs cannot be read."""
    found, failures = await settle({rollout.service: _new_errors(env, lease, rollout) for rollout in lease.rollouts})
    for error in failures.values():
        get_run_logger().warning("no errors for the ticket: %s", error)
    return tuple(sorted((one for errors in found.values() for one in errors), key=lambda one: -one.count))


async def _new_errors(env: Environment, lease: Lease, rollout: ServiceRollout) -> tuple[Signature, ...]:
    """A rollback looks at the hour before it; a release at what came since its lease was acquired."""
    began_s = float(lease.epoch)
    since_s = began_s - env.policy.history_s if lease.kind is Kind.ROLLBACK else lease.bake_start_s or began_s
    new, old = await asyncio.gather(
        env.cloud_logging.errors(rollout.service, lease.suspect(rollout), since_s, LINES),
        env.cloud_logging.errors(rollout.service, lease.trusted(rollout), since_s - env.policy.history_s, LINES),
    )
    return new_signatures(rollout.service, new, old)


async def incident_ticket(env: Environment, report: Report) -> Ticket:
    """The ticket of a release that was taken back: evidence, new errors, links, and the draft of the post-mortem."""
    lease = report.lease
    signatures, where = await asyncio.gather(error_signatures(env, lease), where_to_look(env, lease))
    links = {"flow run": env.run_url(lease.flow_run_id), **log_commands(report)}
    draft = postmortem(await postmortem_template(), report, signatures)
    who = assignee(env.contacts, lease.requested_by, *calls_of(report))
    found = findings(report, signatures, links)
    return rollback_ticket(report, where, found, folded("Draft of the post-mortem", draft), assignee=who)


@step("where to look", **TELL)
async def where_to_look(env: Environment, lease: Lease) -> str:
    """The part of the ticket that playbook 4, scenario 1, step 3 asks for. What cannot be had says so. Markdown."""
    url = commits_url(env, lease)
    sentry = env.release_tracker.release_url(lease.version) if env.release_tracker and is_version(lease.version) else ""
    commits, secrets = await asyncio.gather(_or_why(_commits(env, lease)), _or_why(_secrets(env, lease)))
    return causes(commits, url, sentry, secrets)


async def _commits(env: Environment, lease: Lease) -> list[str]:
    """A line for each commit between what users had and this version, oldest first."""
    old, new = commits_of(lease)
    if env.code_host is None or not (old and new) or old == new:
        return []
    compared = await env.code_host.compare(old, new)
    return [f"{one.sha[:7]} {one.message.splitlines()[0]} ({one.author or 'unknown'})" for one in compared.commits]


async def _secrets(env: Environment, lease: Lease) -> list[str]:
    problems, fact = await secrets_state(env, lease.services)
    return problems or [fact]


async def _or_why(asked: Awaitable[list[str]]) -> list[str]:
    """The lines, or a sentence for why there are none."""
    try:
        async with asyncio.timeout(LOOK_S):
            return await asked
    except (ReleaseError, TimeoutError) as away:
        return [f"could not be asked: {away or 'no answer in time'}"]


async def postmortem_template() -> str:
    """The team's template, or a sentence in its place where it cannot be read."""
    try:
        return await asyncio.to_thread(TEMPLATE.read_text, encoding="utf-8")
    except OSError as missing:
        return f"(The template could not be read: {missing}.)\n\n$timeline"


async def open_incidents(env: Environment, coordinator: str) -> tuple[str, ...]:
    """The keys of open incidents of this coordinator's releases; none where it cannot be read."""
    try:
        return await _read_incidents(env, coordinator)
    except ReleaseError as away:
        get_run_logger().warning("%s", away)
        return ()


@step("open incidents", **READ)
async def _read_incidents(env: Environment, coordinator: str) -> tuple[str, ...]:
    return Record.read(await env.cloud_run.snapshot(coordinator)).incidents


@step("note incident", **WRITE)
async def note_incident(env: Environment, coordinator: str, key: str) -> None:
    """The coordinator remembers that this incident is open. Its traffic and its lease stay as they are."""
    await ensure(env, coordinator, partial(change.to_note_incident, incident=key))


async def refused_before(env: Environment, flow: str) -> dict[str, dict[str, Any]]:
    """The request of each run of ``flow`` that was refused here lately, by the run's id; none where Prefect is away."""
    refused = filters.FlowRunFilter(
        tags=filters.FlowRunFilterTags(all_=[env.name, flow]),
        state=filters.FlowRunFilterState(name=filters.FlowRunFilterStateName(any_=[ReleaseOutcome.REFUSED.value])),
        end_time=filters.FlowRunFilterEndTime(after_=datetime.fromtimestamp(unix_s() - LATELY_S, UTC)),
    )
    try:
        async with asyncio.timeout(LOOK_S), orchestration.get_client() as client:
            found = await client.read_flow_runs(
                flow_run_filter=refused, sort=FlowRunSort.END_TIME_DESC, limit=REFUSED_MAX
            )
    except (*PREFECT_AWAY, TimeoutError) as away:
        get_run_logger().warning("pages about a refused %s stay open: %s", flow, away)
        return {}
    requests = {str(run.id): (run.parameters or {}).get("request") for run in found}
    return {run_id: request for run_id, request in requests.items() if isinstance(request, dict)}
