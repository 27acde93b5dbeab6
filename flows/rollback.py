"""Manual rollback (playbook 4, scenario 2): back to what users had before, in seconds."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.pausing import resume
from flows.preemption import gave_way, recording_done, take_back_running
from flows.steps import carry_out
from playbook.errors import BadRequest, Refused
from playbook.lease.build import rollback_lease
from playbook.lease.lease import Kind
from playbook.lease.record import Unreadable
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.request import RollbackRequest
from playbook.rollback.plan import RollbackPlan, check_free, plan_rollback
from tasks.announce import notify_set_aside
from tasks.ending import ending
from tasks.heartbeat import with_heartbeat
from tasks.lease import acquire, holder
from tasks.migration.schema import check_schema
from tasks.report import note, open_report
from tasks.retries import REVERT
from tasks.rollback import Found, find_revisions
from tasks.run_name import name_run
from tasks.start import requested_at_s


@flow(name="rollback", flow_run_name="roll back {environment}")
async def rollback(request: RollbackRequest, environment: str = "production") -> State[None]:
    """Take every service back to its previous stable revision together, or to what is named.

    A release that is still running is taken back instead: that is the newest thing users have.

    Args:
        request: What is seen, why, who asks; and what to go back to, where it is not simply the release before.
        environment: The environment to take back, by the name of its block.
    """
    return await ending(_rollback(request, environment))


async def _rollback(request: RollbackRequest, environment: str) -> FlowResult:
    env = await Environment.open(environment)
    if problems := request.problems():
        raise BadRequest(problems)
    if (resumed := await resume(env)) is not None:
        return resumed
    if request.to:
        await planned(env, request)  # what cannot be gone back to is refused before anything is taken back for it
    what = f"{request.requested_by} asked for a rollback ({request.symptom.value}: {request.reason.rstrip('.')})"
    taken_back = await take_back_running(env, env.service_names, Kind.ROLLBACK, what)
    if taken_back and not request.to:
        is_well = all(outcome.end is not ReleaseOutcome.UNFIT for outcome in taken_back)
        words = (f"{outcome.release_id} was still running: {outcome.message}" for outcome in taken_back)
        return FlowResult(end=ReleaseOutcome.ROLLED_BACK if is_well else ReleaseOutcome.UNFIT, message=" ".join(words))
    with recording_done(gave_way(env, taken_back)):
        return await go_back(env, request)


async def go_back(env: Environment, request: RollbackRequest) -> FlowResult:
    """From a plan to its end; nothing is written before there is one."""
    found, plan = await planned(env, request)
    if not plan.rollouts:
        done = FlowResult(
            end=ReleaseOutcome.ROLLED_BACK,
            message=f"Nothing moved: {env.name} serves {request.to or 'it'} already.",
        )
        return await without(env, found.aside, done)
    check_free(found.services, plan)
    snapshots = (one.snapshot for one in found.services.values())
    lease = rollback_lease(plan.version, plan.rollouts, request, snapshots, holder(env, requested_at_s()))
    back_to = ", ".join(dict.fromkeys(one.back_to.name for one in plan.rollouts if one.back_to))
    await name_run(f"roll back {env.name} from {plan.version} to {back_to}", plan.version, back_to)
    report = await note(await open_report(env, lease), f"planned: {plan.version} is taken back")
    await acquire.with_options(**REVERT)(env, lease)
    async with with_heartbeat(env, lease):
        return await without(env, found.aside, await carry_out(env, report))


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
