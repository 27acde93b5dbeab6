"""The normal release (playbook 3): staging, canary, monitor, then promote or revert."""

import asyncio
from functools import partial

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.checks import ask_before_production, ask_if_late, check_first, check_last, refuse_open
from flows.pausing import resume
from flows.planning import in_use, lease_for, plan
from flows.preemption import recording_done
from flows.steps import carry_out
from playbook.checklist.items import Item
from playbook.errors import BadRequest, Refused
from playbook.messages.facts import Audience
from playbook.messages.not_started import asked_release
from playbook.messages.report import Note
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.plan import Order
from playbook.release.version import Image, ReleaseRequest, Version
from tasks.announce import notify_not_started, notify_starting
from tasks.asked import asked_flow
from tasks.build import check_build
from tasks.deployments import record_beginning
from tasks.drift import check_drift
from tasks.ending import ending
from tasks.heartbeat import with_heartbeat
from tasks.lease import acquire
from tasks.look import already_live, check_free, look, signing_key_problem, version_in_staging
from tasks.migration.schema import check_schema
from tasks.monitor import check_telemetry
from tasks.opening import OpenPage, open_page
from tasks.report import note, open_report
from tasks.run_name import name_run

NOTHING_DUE = (
    "Nothing has passed staging since the last release. A version that users had before, or that was taken back, is "
    "released again only when it is named."
)


@asked_flow(name="release", flow_run_name="release {request.subject} to {environment}", audience=Audience.RELEASES)
async def release(request: ReleaseRequest, environment: str = "production") -> State[None]:
    """Release a version: staging first, then a canary that is watched, then every user or none.

    Args:
        request: What to release. An empty version means the one that passed staging last.
        environment: The environment to release to, by the name of its block.
    """
    notify = partial(notify_not_started, environment, asked_release(request))
    return await ending(_release(request, environment), notify)


async def _release(request: ReleaseRequest, environment: str) -> FlowResult:
    env = await Environment.open(environment)
    staging = await Environment.open(env.staging) if env.staging else None
    if (resumed := await resume(env)) is not None:
        return resumed
    order = await make_order(env, staging, request)
    if order is None:
        return FlowResult(end=ReleaseOutcome.NOTHING_TO_RELEASE, message=NOTHING_DUE)
    await name_run(f"release {order.version} to {env.name}", str(order.version))
    async with open_page(env, order) as shown:
        outcome = await _checked(env, staging, order, request, shown)
        await shown.ended(outcome)
        return outcome


async def _checked(
    env: Environment, staging: Environment | None, order: Order, request: ReleaseRequest, shown: OpenPage
) -> FlowResult:
    if problem := await check_telemetry(env):
        raise Refused(f"{problem} Without it nothing can be promoted.")
    items = await check_first(env, staging, order)
    if request.plan_only:
        return await plan(env, order, items)
    refuse_open(items)
    await ask_if_late(env, order)
    done = []
    if staging is not None:
        await check_free(env, order)
        await shown.at("staging", f"checks passed; {staging.name} comes first")
        staged = await resume(staging) or await release_to(staging, order)
        if not staged.end.is_success:
            return FlowResult(
                end=ReleaseOutcome.REFUSED, message=f"{env.name} was not touched; {staging.name}: {staged.message}"
            )
        if staged.end is ReleaseOutcome.PROMOTED:
            done = [f"{staging.name} has {order.version}; {env.name} was not touched."]
        await shown.at("deploy at 0 %", f"{staging.name} serves it")
    with recording_done(done):
        items = await check_last(env, staging, order, items)
        if await ask_before_production(env, order, items):
            items = await check_last(env, staging, order, items)
        return await release_to(env, in_use(order, items), items, shown.notes)


async def release_to(
    env: Environment, order: Order, items: tuple[Item, ...] = (), notes: tuple[Note, ...] = ()
) -> FlowResult:
    """Take ``order`` to one environment, from the lease to its end."""
    found = await look(env, tuple(order.images))
    if await already_live(env, order, found):
        return FlowResult(end=ReleaseOutcome.NOTHING_TO_RELEASE, message=f"{env.name} already serves {order.version}.")
    await check_schema(env, dict.fromkeys(order.images, str(order.version)))
    drift = await check_drift(env, found)
    lease, forecasts = await lease_for(env, order, found, drift)
    await acquire(env, lease)
    async with with_heartbeat(env, lease):
        words = "; ".join(["lease acquired", *map(str, lease.overrides)])
        report = await open_report(env, lease, checklist=items, changes=order.changes, notes=notes, forecasts=forecasts)
        report = await note(report, words)
        record_beginning(env, lease)
        await notify_starting(env, report, order, items)
        return await carry_out(env, report)


async def make_order(env: Environment, staging: Environment | None, request: ReleaseRequest) -> Order | None:
    """The request made whole, or None where there is nothing to release.

    Raises: BadRequest, with every field that is wrong; Refused (no signing key can be read).
    """
    problems = request.problems(env.service_names)
    if problems:
        raise BadRequest(problems)
    for one in (env, staging):
        if one is not None and (unsigned := await signing_key_problem(one)):
            raise Refused(unsigned)
    text = request.version or await version_in_staging(env, staging)
    if not text:
        return None
    version = Version.parse(text)
    services = [name for name in env.service_names if not request.services or name in request.services]
    builds = await asyncio.gather(*(check_build(env, service, version) for service in services))
    missing = [build for build in builds if isinstance(build, str)]
    if missing:
        raise BadRequest(missing)
    return Order(
        version=version,
        images={  # copies: Prefect would draw a line from each check to every later step that knows its image
            service: Image.model_validate_json(build.model_dump_json())
            for service, build in zip(services, builds, strict=True)
            if isinstance(build, Image)
        },
        canary_percent=int(request.canary_percent or env.policy.canary_percent),
        canary_percent_max=int(request.canary_percent or env.policy.canary_percent_max),
        changes=request.changes,
        requested_by=request.requested_by,
        overrides=request.overrides,
        plan_reviewed_by=request.plan_reviewed_by,
    )
