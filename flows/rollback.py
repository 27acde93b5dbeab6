"""Manual rollback (playbook 4, scenario 2): back to what users had before, in seconds."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.preemption import gave_way, recording_done, take_back_running
from flows.steps import carry_out
from playbook.errors import BadRequest
from playbook.lease.lease import Kind
from playbook.messages.report import Report
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.request import RollbackRequest
from playbook.rollback.plan import RollbackPlan, ServiceState, check_free, plan_rollback
from tasks.ending import ending
from tasks.heartbeat import with_heartbeat
from tasks.migration.steps import check_schema
from tasks.report import note
from tasks.rollback import begin_rollback, find_revisions, lease_of
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
    if request.to:
        await planned(env, request)  # what cannot be gone back to is refused before anything is taken back for it
    what = f"{request.requested_by} asked for a rollback ({request.symptom.value}: {request.reason})"
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
        return FlowResult(
            end=ReleaseOutcome.ROLLED_BACK, message=f"Nothing moved: {env.name} serves {request.to} already."
        )
    check_free(found, plan)
    lease = lease_of(env, plan, request, found, requested_at_s())
    report = await note(Report(environment=env.name, lease=lease), f"planned: {plan.version} is taken back")
    await begin_rollback(env, lease)
    async with with_heartbeat(env, lease):
        return await carry_out(env, report)


async def planned(env: Environment, request: RollbackRequest) -> tuple[dict[str, ServiceState], RollbackPlan]:
    """What each service is, and where it goes. Raises: BadRequest, Refused (also: the schema cannot be read there)."""
    found = await find_revisions(env)
    plan = plan_rollback(found, request.to)
    targets = {rollout.service: rollout.back_to.release for rollout in plan.rollouts if rollout.back_to}
    await check_schema(env, targets, is_urgent=True)
    return found, plan
