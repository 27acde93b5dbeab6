"""Manual rollback (playbook 4, scenario 2): back to what users had before, in seconds."""

import asyncio
from functools import partial

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.pausing import resume
from flows.preemption import gave_way, recording_done, take_back_running
from flows.steps import AFTER_ROLLBACK, carry_out
from playbook.errors import BadRequest, Refused
from playbook.lease.build import rollback_lease
from playbook.lease.lease import Kind, RollbackLease
from playbook.lease.record import Aside, Unreadable
from playbook.messages.facts import Audience
from playbook.messages.not_started import asked_rollback
from playbook.messages.report import Report
from playbook.messages.set_aside import rolled_back_unrecorded
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.request import RollbackRequest
from playbook.release.version import VERSION, version_of
from playbook.rollback import unrecorded
from playbook.rollback.plan import RollbackPlan, check_free, left_out, plan_rollback
from tasks.announce import end_refused, notify_not_started, notify_set_aside
from tasks.asked import asked_flow
from tasks.each_service import settle
from tasks.ending import ending
from tasks.heartbeat import with_heartbeat
from tasks.lease import acquire, holder
from tasks.look import signing_key_problem
from tasks.migration.schema import check_schema
from tasks.notify import notify
from tasks.report import note, open_report
from tasks.retries import REVERT
from tasks.rollback import Found, find_revisions, left_out_words, list_revisions, move_users
from tasks.run_name import TOOK_BACK, name_run
from tasks.start import requested_at_s
from tasks.validation import smoke_test

acquire_patiently = acquire.with_options(**REVERT)


@asked_flow(name="rollback", flow_run_name="roll back {environment}", audience=Audience.INCIDENTS)
async def rollback(request: RollbackRequest, environment: str = "production") -> State[None]:
    """Take every service back to its previous stable revision together, or to what is named.

    A release that is still running is taken back instead: that is the newest thing users have.

    Args:
        request: What is seen, why, who asks; and what to go back to, where it is not simply the release before.
        environment: The environment to take back, by the name of its block.
    """
    notify = partial(notify_not_started, environment, asked_rollback(request))
    return await ending(_rollback(request, environment), notify)


async def _rollback(request: RollbackRequest, environment: str) -> FlowResult:
    env = await Environment.open(environment)
    if problems := request.problems():
        raise BadRequest(problems)
    if request.to and (problem := await signing_key_problem(env)):
        return await go_back_unrecorded(env, request, problem)
    if (resumed := await resume(env)) is not None:
        return resumed
    if request.to:
        await planned(env, request)  # what cannot be gone back to is refused before anything is taken back for it
    what = f"{request.requested_by} asked for a rollback ({request.symptom.value}: {request.reason.rstrip('.')})"
    taken_back = await take_back_running(env, env.service_names, Kind.ROLLBACK, what)
    if taken_back and not request.to:
        is_well = all(outcome.end is not ReleaseOutcome.UNFIT for outcome in taken_back)
        words = (f"{outcome.release_id} was still running: {outcome.message}" for outcome in taken_back)
        ids = [outcome.release_id for outcome in taken_back]
        await name_run(f"take {', '.join(ids)} back in {env.name}", *map(version_of, ids), TOOK_BACK)
        if is_well:
            await end_refused(env, "rollback", "to", request.to)
        return FlowResult(
            end=ReleaseOutcome.ROLLED_BACK if is_well else ReleaseOutcome.UNFIT,
            message=" ".join(words),
            took_back=ids[-1],
        )
    with recording_done(gave_way(env, taken_back)):
        return await go_back(env, request)


async def go_back(env: Environment, request: RollbackRequest) -> FlowResult:
    """From a plan to its end; nothing is written before there is one."""
    found, plan = await planned(env, request)
    aside = (*found.aside, *plan.aside)
    if not plan.rollouts:
        done = FlowResult(
            end=ReleaseOutcome.ROLLED_BACK,
            message=f"Nothing moved: {env.name} serves {request.to or 'what it would go back to'} already.{plan.left}",
        )
        if not aside:
            await end_refused(env, "rollback", "to", request.to)
        return await without(env, aside, done)
    check_free(found.services, plan)
    snapshots = (one.snapshot for one in found.services.values())
    lease = rollback_lease(plan.version, plan.rollouts, request, snapshots, holder(env, requested_at_s()))
    unread = {one.service for one in found.aside}  # still in the file: each has a page of its own
    gone = tuple(one for one in left_out(found.services, plan, request.to) if one not in unread)
    shown = asyncio.ensure_future(show_plan(env, lease, plan, gone))  # side by side with the first write
    try:
        await acquire_patiently(env, lease)
    finally:
        report = await shown
    async with with_heartbeat(env, lease):
        done = await carry_out(env, report)
    return await without(env, aside, done.model_copy(update={"message": done.message + report.left}))


async def show_plan(env: Environment, lease: RollbackLease, plan: RollbackPlan, gone: tuple[str, ...]) -> Report:
    """The run is called after where it goes, and has its page, which says what stays: also of the services that are
    ``gone`` from the environment's file."""
    back_to = ", ".join(dict.fromkeys(one.back_to.name for one in plan.rollouts if one.back_to))
    await name_run(f"roll back {env.name} from {plan.version} to {back_to}", plan.version, back_to)
    left = plan.left + await left_out_words(env, gone, plan.version)
    report = (await open_report(env, lease)).model_copy(update={"left": left})
    return await note(report, f"planned: {plan.version} is taken back{'.' if left else ''}{left}")


async def go_back_unrecorded(env: Environment, request: RollbackRequest, problem: str) -> FlowResult:
    """No signing key can be read, so no record can be believed or written: users go where ``to`` says, and no more.

    A release under way takes it for a change by hand, and steps back.
    """
    targets = unrecorded.named(await list_revisions(env), request.to)
    is_version = VERSION.fullmatch(request.to.strip()) is not None
    await check_schema(env, dict.fromkeys(targets, request.to.strip() if is_version else ""), is_urgent=True)
    moved = await settle({service: move_users(env, service, revision) for service, revision in targets.items()})
    failed = list(map(str, moved.failures.values()))
    tests = (smoke_test(env, service, only=AFTER_ROLLBACK) for service in targets)
    failed += [wrong for wrong in await asyncio.gather(*tests) if wrong]
    where = ", ".join(f"{service} on {revision}" for service, revision in targets.items())
    words = [f"Asked for: {where}.", f"It is not recorded on the services: {problem}", *failed]
    await notify(env, rolled_back_unrecorded(env.name, request, words))
    await notify_set_aside(env, (Unreadable(service=next(iter(targets)), problem=problem, why=Aside.UNCHECKED),))
    end = ReleaseOutcome.UNFIT if failed else ReleaseOutcome.ROLLED_BACK
    return FlowResult(end=end, message=" ".join(words))


async def without(env: Environment, aside: tuple[Unreadable, ...], done: FlowResult) -> FlowResult:
    """The end of a rollback that went on without some services: a person is paged for each of them."""
    if not aside:
        return done
    await notify_set_aside(env, aside)
    end = ReleaseOutcome.UNFIT if done.end is ReleaseOutcome.ROLLED_BACK else done.end
    return done.model_copy(update={"end": end, "message": " ".join([done.message, *map(str, aside)])})


async def planned(env: Environment, request: RollbackRequest) -> tuple[Found, RollbackPlan]:
    """What each service is, and where it goes. Raises: BadRequest, Refused (also: the schema cannot be read there)."""
    found = await find_revisions(env)
    if not found.services:
        raise Refused(" ".join(map(str, found.aside)))
    plan = plan_rollback(found.services, request.to)
    targets = {rollout.service: rollout.back_to.release for rollout in plan.rollouts if rollout.back_to}
    await check_schema(env, targets, is_urgent=True)
    return found, plan
