"""Manual rollback (playbook 4, scenario 2): back to what users had before, in seconds."""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.preemption import gave_way, having_done, take_back_running
from flows.steps import carry_out
from playbook.claim import Kind
from playbook.errors import BadRequest
from playbook.outcome import End, Outcome
from playbook.report import Report
from playbook.requests import RollbackRequest
from playbook.rollback import Found, RollbackPlan, check_free, plan_rollback
from tasks.ending import ending
from tasks.migration import check_schema
from tasks.report import note
from tasks.rollback import begin_rollback, claim_of, find_revisions
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


async def _rollback(request: RollbackRequest, environment: str) -> Outcome:
    env = await Environment.open(environment)
    if problems := request.problems():
        raise BadRequest(problems)
    if request.to:
        await planned(env, request)  # what cannot be gone back to is refused before anything is taken back for it
    what = f"{request.requested_by} asked for a rollback ({request.symptom.value}: {request.reason})"
    taken_back = await take_back_running(env, env.service_names, Kind.ROLLBACK, what)
    if taken_back and not request.to:
        releases = ", ".join(outcome.release_id for outcome in taken_back)
        return Outcome(end=End.ROLLED_BACK, message=f"{releases} was still running; its users are back on stable.")
    with having_done(gave_way(env, taken_back)):
        return await go_back(env, request)


async def go_back(env: Environment, request: RollbackRequest) -> Outcome:
    """From a plan to its end; nothing is written before there is one."""
    found, plan = await planned(env, request)
    if not plan.parts:
        return Outcome(end=End.ROLLED_BACK, message=f"Nothing moved: {env.name} serves {request.to} already.")
    check_free(found, plan)
    claim = claim_of(env, plan, request, found, requested_at_s())
    report = await note(Report(environment=env.name, claim=claim), f"planned: {plan.version} is taken back")
    await begin_rollback(env, claim)
    return await carry_out(env, report)


async def planned(env: Environment, request: RollbackRequest) -> tuple[dict[str, Found], RollbackPlan]:
    """What each service is, and where it goes. Raises: BadRequest, Refused (also: the schema cannot be read there)."""
    found = await find_revisions(env)
    plan = plan_rollback(found, request.to)
    targets = {part.service: part.back_to.release for part in plan.parts if part.back_to}
    await check_schema(env, targets, is_urgent=True)
    return found, plan
