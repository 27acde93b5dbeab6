"""The pre-release checklist, each line a step of its own, side by side."""

from prefect import get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.checklist.items import Item, Topic
from playbook.errors import Refused, Transient
from playbook.release.plan import Order
from tasks.retries import TELL

AVAILABLE_FOR_S = 7200
"""Playbook 2: credentials and on-call must hold for the two hours after a release."""


@task(name="checklist", task_run_name="checklist: {topic}", **TELL)
async def check_item(env: Environment, topic: Topic, order: Order) -> Item:
    """One line of the checklist, looked up. A desk that is away leaves it unknown; it never fails the release."""
    look_up = {Topic.CI: _ci, Topic.SECRETS: _secrets, Topic.ON_CALL: _on_call, Topic.NOTES: _notes}[topic]
    try:
        is_met, seen = await look_up(env, order)
    except (Transient, Refused) as away:
        is_met, seen = None, f"could not be asked ({away})"
    item = Item(topic=topic, is_met=is_met, seen=seen)
    get_run_logger().info("%s", item)
    return item


async def _ci(env: Environment, order: Order) -> tuple[bool | None, str]:
    if env.github is None:
        return None, "this environment names no GitHub"
    checks = {check.name: check for check in await env.github.checks(order.version.commit)}
    missing = [name for name in env.required_checks if name not in checks]
    failed = [name for name in env.required_checks if name in checks and checks[name].conclusion != "success"]
    if missing or failed:
        told = [f"{name} is missing" for name in missing] + [f"{name} is {checks[name].conclusion}" for name in failed]
        return False, f"commit {order.version.commit}: {', '.join(told)}"
    return True, f"{', '.join(env.required_checks) or 'no check'} passed on {order.version.commit}"


async def _secrets(env: Environment, order: Order) -> tuple[bool | None, str]:
    if env.secret_manager is None:
        return None, "this environment names no Secret Manager"
    wrong = []
    for name in env.secret_manager.names:
        state = await env.secret_manager.state(name)
        if not state.exists:
            wrong.append(f"{name} does not exist")
        elif not state.is_enabled:
            wrong.append(f"{name} has no enabled version")
        elif state.expires_at_s is not None and state.expires_at_s < unix_s() + AVAILABLE_FOR_S:
            wrong.append(f"{name} expires within two hours")
    return not wrong, "; ".join(wrong) or f"{', '.join(env.secret_manager.names) or 'none'} enabled and not expiring"


async def _on_call(env: Environment, order: Order) -> tuple[bool | None, str]:
    if env.pagerduty is None:
        return None, "this environment names no PagerDuty"
    people = await env.pagerduty.on_call()
    return bool(people), ", ".join(people) or "nobody is on call"


async def _notes(env: Environment, order: Order) -> tuple[bool | None, str]:
    if order.changes:
        return True, order.changes
    if env.github is None:
        return False, "no changes given"
    notes = await env.github.release_notes(str(order.version))
    return bool(notes), (notes or "no changes given, and GitHub has no release of that name").splitlines()[0]
