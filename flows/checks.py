"""What stands between a request and its first write: the checks, and a person's approval."""

import asyncio
from collections.abc import Sequence
from functools import partial

from blocks.environment import Environment
from playbook.checklist.items import AFTER_STAGING, BEFORE_STAGING, WINDOWS, Item, Topic, refusal
from playbook.errors import Refused
from playbook.messages.times import minutes
from playbook.release.gate import DEADLINE
from playbook.release.plan import Order
from tasks.announce import notify_approval, notify_late
from tasks.checklist import check_item
from tasks.gate import ask_approval
from tasks.report import show_checklist
from tasks.start import requested_at_s, seconds_since
from tasks.visible_step import visible_step


async def check_first(
    env: Environment, staging: Environment | None, order: Order, *, is_hotfix: bool = False
) -> tuple[Item, ...]:
    """Everything that can be asked before anything is written anywhere."""
    looked_up = partial(_check, env, staging, order, (*WINDOWS, *BEFORE_STAGING), (), is_hotfix=is_hotfix)
    return await visible_step(f"checklist in {env.name}", looked_up, refusal)


async def check_last(
    env: Environment, staging: Environment | None, order: Order, items: tuple[Item, ...], *, is_hotfix: bool = False
) -> tuple[Item, ...]:
    """What rests on staging, and once more what may have changed meanwhile, before production is written.

    Raises: Refused, naming every item that is open.
    """
    looked_up = partial(_check, env, staging, order, (*WINDOWS, *AFTER_STAGING), items, is_hotfix=is_hotfix)
    found = await visible_step(f"checklist after staging in {env.name}", looked_up, refusal)
    refuse_open(found)
    return found


async def _check(
    env: Environment,
    staging: Environment | None,
    order: Order,
    topics: Sequence[Topic],
    before: tuple[Item, ...],
    *,
    is_hotfix: bool,
) -> tuple[Item, ...]:
    found = await asyncio.gather(*(check_item(env, topic, order, staging, is_hotfix) for topic in topics))
    whole = {item.topic: item for item in (*before, *found)}
    items = tuple(whole[topic] for topic in Topic if topic in whole)
    await show_checklist(env, str(order.version), items)
    return items


def refuse_open(items: Sequence[Item]) -> None:
    """Raises: Refused, naming every item that is open."""
    if why := refusal(items):
        raise Refused(why)


async def ask_if_late(env: Environment, order: Order) -> None:
    """A run that starts long after its time asks a person: what was right then may not be now. Raises: Refused.

    A hotfix is not asked about: its users wait.
    """
    late_s = seconds_since(requested_at_s()) or 0.0
    if late_s <= env.gates.late_after_s:
        return
    await notify_late(env, order, late_s)
    await _approved(env, order, f"it starts {late_s / 60:.0f} minutes after its time", ())


async def ask_before_production(env: Environment, order: Order, items: tuple[Item, ...]) -> bool:
    """Whether a person had to agree before production is written, and did. Raises: Refused.

    A hotfix is not asked about: its request names its approver.
    """
    if env.gates.approval != "production":
        return False
    await notify_approval(env, order, items)
    await _approved(env, order, "the policy asks for approval before production", items)
    return True


async def _approved(env: Environment, order: Order, why: str, items: tuple[Item, ...]) -> None:
    answer = await ask_approval(env.name, str(order.version), why, items, env.gates.approval_deadline_s)
    if answer.goes_on:
        return
    if answer.by == DEADLINE:
        within = minutes(env.gates.approval_deadline_s)
        raise Refused(f"No person let {order.version} go on within {within} ({why}). Start it again when it may.")
    raise Refused(f"{answer.by} did not let {order.version} go on ({why}): {answer.reason}")
