"""Hotfix (playbook 6): staging and every smoke test, no canary, every user at once, or none if it is bad."""

import asyncio
from functools import partial

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.checks import check_first, check_last, refuse_open
from flows.pausing import resume
from flows.planning import in_use, lease_for, plan
from flows.preemption import gave_way, recording_done, take_back_running
from flows.release import make_order, release_to
from flows.steps import carry_out
from playbook.checklist.items import Item
from playbook.errors import BadRequest
from playbook.lease.lease import Kind
from playbook.messages.facts import Audience
from playbook.messages.hotfix import before_the_fix
from playbook.messages.not_started import asked_hotfix
from playbook.messages.report import Note
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.plan import Order
from playbook.release.request import HotfixRequest
from playbook.release.version import ReleaseRequest
from tasks.announce import notify_hotfix_started, notify_not_started
from tasks.asked import asked_flow
from tasks.deployments import record_beginning
from tasks.drift import check_drift
from tasks.each_service import finish_all
from tasks.ending import ending
from tasks.heartbeat import with_heartbeat
from tasks.lease import acquire
from tasks.look import already_live, look
from tasks.migration.schema import check_schema
from tasks.opening import OpenPage, open_page
from tasks.report import note, open_report
from tasks.run_name import name_run
from tasks.validation import exploit_check


@asked_flow(name="hotfix", flow_run_name="hotfix {request.version} to {environment}", audience=Audience.RELEASES)
async def hotfix(request: HotfixRequest, environment: str = "production") -> State[None]:
    """Give every user a fix that cannot wait. A normal release that is running gives way to it.

    Args:
        request: The version, what it fixes, and who allows to skip the canary.
        environment: The environment to fix, by the name of its block.
    """
    notify = partial(notify_not_started, environment, asked_hotfix(request))
    return await ending(_hotfix(request, environment), notify)


async def _hotfix(request: HotfixRequest, environment: str) -> FlowResult:
    env = await Environment.open(environment)
    if problems := request.problems(env.service_names):
        raise BadRequest(problems)
    if (resumed := await resume(env)) is not None:
        return resumed
    staging = await Environment.open(env.staging) if env.staging else None
    wanted = ReleaseRequest(
        version=request.version,
        changes=request.reason,
        requested_by=request.requested_by,
        overrides=request.overrides,
    )
    order = await make_order(env, staging, wanted)
    assert order is not None  # only a request without a version may find nothing to release
    await name_run(f"hotfix {order.version} to {env.name}", str(order.version))
    async with open_page(env, order, Kind.HOTFIX) as shown:
        outcome = await _checked(env, staging, order, request, shown)
        await shown.ended(outcome)
        return outcome


async def _checked(
    env: Environment, staging: Environment | None, order: Order, request: HotfixRequest, shown: OpenPage
) -> FlowResult:
    items = await check_first(env, staging, order, is_hotfix=True)
    if request.plan_only:
        return await plan(env, order, items, request)
    refuse_open(items)
    seen = await check_fix_first(env, order, request)
    what, done = f"hotfix {order.version}", list[str]()
    with recording_done(done):
        if staging is not None:
            await check_schema(staging, dict.fromkeys(order.images, str(order.version)))
            await shown.at("staging", f"{staging.name} comes first")
            done += gave_way(staging, await take_back_running(staging, tuple(order.images), Kind.HOTFIX, what))
            staged = await resume(staging) or await release_to(staging, order)
            if not staged.end.is_success:
                return FlowResult(
                    end=ReleaseOutcome.REFUSED, message=f"{env.name} was not touched; {staging.name}: {staged.message}"
                )
            await shown.at("deploy at 0 %", f"{staging.name} serves it")
            done.append(f"{staging.name} has {order.version}, {env.name} does not.")
        items = await check_last(env, staging, order, items, is_hotfix=True)
        done += gave_way(env, await take_back_running(env, tuple(order.images), Kind.HOTFIX, what))
        return await _fix(env, in_use(order, items), request, seen, items, shown.notes)


async def check_fix_first(env: Environment, order: Order, request: HotfixRequest) -> list[str]:
    """What can be found wrong is found before anything gives way: the schema, and a check that cannot be asked.

    Returns a sentence for each exploit as it is answered without the fix.
    """
    schema = check_schema(env, dict.fromkeys(order.images, str(order.version)))
    _, before = await asyncio.gather(schema, finish_all(exploit_check(env, check) for check in request.exploit))
    return [before_the_fix(check, status) for check, status in zip(request.exploit, before, strict=True)]


async def _fix(
    env: Environment,
    order: Order,
    request: HotfixRequest,
    seen: list[str],
    items: tuple[Item, ...],
    notes: tuple[Note, ...],
) -> FlowResult:
    """From the lease to the end. What is open among ``items`` is owed afterwards."""
    found = await look(env, tuple(order.images))
    if await already_live(env, order, found):
        return FlowResult(end=ReleaseOutcome.NOTHING_TO_RELEASE, message=f"{env.name} already serves {order.version}.")
    drift = await check_drift(env, found, is_urgent=True)
    lease, _ = await lease_for(env, order, found, drift, request)
    await acquire(env, lease)
    async with with_heartbeat(env, lease):
        report = await open_report(env, lease, checklist=items, notes=notes)
        report = await note(report, "; ".join(["lease acquired", *seen]))
        record_beginning(env, lease)
        await notify_hotfix_started(env, report)
        return await carry_out(env, report)
