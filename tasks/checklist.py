"""The pre-release checklist, each line a step of its own, side by side."""

import asyncio

from prefect import get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.checklist.checks import ci_findings, secret_problem
from playbook.checklist.items import Item, Topic
from playbook.errors import Refused, Transient
from playbook.release.plan import Order
from tasks.retries import TELL

AVAILABLE_FOR_S = 7200
"""Playbook 2: credentials and on-call must hold for the two hours after a release."""


@task(name="checklist", task_run_name="checklist: {topic}", **TELL)
async def check_item(env: Environment, topic: Topic, order: Order) -> Item:
    """One line of the checklist, looked up. A system that is away leaves it unknown; it never fails this step."""
    look_up = {Topic.CI: _ci, Topic.SECRETS: _secrets, Topic.ON_CALL: _on_call, Topic.NOTES: _notes}[topic]
    try:
        is_met, seen = await look_up(env, order)
    except (Transient, Refused) as away:
        is_met, seen = None, f"no answer ({away})"
    item = Item(topic=topic, is_met=is_met, seen=seen)
    get_run_logger().info("%s", item)
    return item


async def _ci(env: Environment, order: Order) -> tuple[bool | None, str]:
    if env.code_host is None:
        return None, "this environment names no code host; add [github] to its file"
    if not env.required_checks:
        return None, "this environment names no required_checks; add them to its file"
    if env.required_checks == ("none",):
        return True, 'not needed: required_checks = ["none"]'
    commit = order.version.commit
    problems = ci_findings(await env.code_host.checks(commit), env.required_checks)
    return not problems, f"commit {commit}: {', '.join(problems) or ', '.join(env.required_checks) + ' passed'}"


async def _secrets(env: Environment, order: Order) -> tuple[bool | None, str]:
    manager = env.secret_manager
    if manager is None:
        return None, "this environment names no secret manager; add [secret_manager] to its file"
    until_s = unix_s() + AVAILABLE_FOR_S
    states = await asyncio.gather(*(manager.state(name) for name in manager.names))
    problems = [problem for state in states if (problem := secret_problem(state, until_s))]
    return not problems, "; ".join(problems) or f"{', '.join(manager.names) or 'none'} enabled, and none expires soon"


async def _on_call(env: Environment, order: Order) -> tuple[bool | None, str]:
    if not env.pagers:
        if env.pager == "none":
            return True, 'not needed: pager = "none"'
        return None, "this environment names no pager; add [pagerduty] to its file"
    answers = await asyncio.gather(*(pager.on_call() for pager in env.pagers))
    people = dict.fromkeys(person for found in answers for person in found)
    return bool(people), ", ".join(people) or "no person is on call"


async def _notes(env: Environment, order: Order) -> tuple[bool | None, str]:
    if order.changes:
        return True, order.changes
    if env.code_host is None:
        return False, "no changes were given"
    notes = await env.code_host.release_notes(str(order.version))
    return bool(notes), (notes or "no changes were given, and there is no release of that name").splitlines()[0]
