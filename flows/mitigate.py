"""Immediate actions (playbook 7): more or fewer instances, or read-only, for one service; and the way back."""

from functools import partial

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.errors import BadRequest
from playbook.messages.facts import Audience
from playbook.messages.not_started import asked_mitigation
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.request import Measure, MitigateRequest
from tasks import status
from tasks.announce import notify_mitigated, notify_not_started, notify_nothing_to_restore
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.mitigation import (
    check_maintenance_revision,
    has_measure,
    mitigate_service,
    restore_service,
    watch_effect,
)


@asked_flow(
    name="mitigate", flow_run_name="{request.measure} {request.service} in {environment}", audience=Audience.INCIDENTS
)
async def mitigate(request: MitigateRequest, environment: str = "production") -> State[None]:
    """Lessen the impact on users now, outside any release. The measure ``restore`` goes back to what was before.

    Args:
        request: The service, the measure, why, and who asks.
        environment: The environment it is in, by the name of its block.
    """
    notify = partial(notify_not_started, environment, asked_mitigation(request))
    return await ending(_mitigate(request, environment), notify)


async def _mitigate(request: MitigateRequest, environment: str) -> FlowResult:
    env = await Environment.open(environment)
    known = env.service_names
    maintenance = env.service(request.service).maintenance_revision if request.service in known else ""
    if problems := request.problems(known, maintenance):
        raise BadRequest(problems)
    status.holds(env)
    if request.measure is Measure.RESTORE:
        is_mitigated = await has_measure(env, request.service)
        snapshot = await restore_service(env, request.service)
        if not is_mitigated:
            serves = f"no measure is in force, and {request.service} serves {snapshot.split}, {snapshot.scaling}."
            await notify_nothing_to_restore(env, request, serves)
            message = f"There was nothing to restore: {serves} Nothing was written."
            return FlowResult(end=ReleaseOutcome.PASSED, message=message)
    else:
        if request.measure is Measure.READ_ONLY:
            await check_maintenance_revision(env, request.service)
        snapshot = await mitigate_service(env, request)
    serves = f"{request.service} serves {snapshot.split}, {snapshot.scaling}."
    await notify_mitigated(env, request, serves)
    await watch_effect(env, request, snapshot)
    return FlowResult(end=ReleaseOutcome.PASSED, message=serves)
