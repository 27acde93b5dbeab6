"""Immediate actions on one service (playbook 7), each with its way back written on the service."""

from collections.abc import Callable
from functools import partial

from prefect import get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Overwritten, Refused
from playbook.lease import mitigation
from playbook.lease.change import Change
from playbook.lease.lease import Decision, ReleaseLease, ServiceRollout
from playbook.lease.record import Record
from playbook.messages.watch import measure_of
from playbook.release.request import Measure, MitigateRequest
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit
from tasks.announce import begin_watch
from tasks.ensure import ensure
from tasks.retries import READ, REVERT, step


@task(name="check maintenance revision", task_run_name="check maintenance revision", **READ)
async def check_maintenance_revision(env: Environment, service: str) -> None:
    """The maintenance revision exists and is ready. Raises Refused, naming it, where it is not."""
    name = env.service(service).maintenance_revision
    revision = await env.cloud_run.revision(service, name)
    if not revision.is_ready:
        raise Refused(f"{service}: its maintenance revision {name} is not ready: {revision.reason}. Deploy it anew.")


@task(name="mitigate", task_run_name="{request.measure} {request.service}", **REVERT)
async def mitigate_service(env: Environment, request: MitigateRequest) -> ServiceSnapshot:
    """The measure is in force and served; who, why and the way back stand in the service's annotations.

    Raises: Overwritten (another person changed the service right after: what they did stands).
    """
    service, at_s = env.service(request.service), unix_s()
    is_scaling = request.measure is Measure.SCALE
    measure = partial(
        mitigation.to_mitigate,
        request=request,
        split=None if is_scaling else TrafficSplit.all_to(service.maintenance_revision),
        scaling=Scaling(manual=request.instances) if is_scaling else None,
        at_s=at_s,
    )
    snapshot = await _measured(env, service.name, measure, at_s)
    get_run_logger().info("%s serves %s with %s", service.name, snapshot.served, snapshot.scaling)
    return snapshot


async def watch_effect(env: Environment, request: MitigateRequest, snapshot: ServiceSnapshot) -> None:
    """A run of its own watches the service since the measure, where that can tell whether it helped."""
    is_stopped = request.measure is Measure.READ_ONLY or request.instances == 0
    if is_stopped or not env.policy.bake_s:
        return
    run_id, now_s, serving = str(runtime.flow_run.get_id()), unix_s(), snapshot.pinned.main
    rollout = ServiceRollout(
        service=request.service,
        from_revision=serving,
        to_revision=serving,
        found=TrafficSplit(percent=snapshot.pinned.percent),
        image="",
    )
    lease = ReleaseLease(
        release_id=f"mitigate-{request.service}-{run_id[:6]}",
        version=f"{request.measure} {request.service}",
        flow_run_id=run_id,
        epoch=int(now_s),
        decision=Decision.PROMOTE,
        rollouts=(rollout,),
        canary_percent=100,
        requested_by=request.requested_by,
        deadline_s=now_s + env.policy.watch_s,
    )
    await begin_watch(env, lease, measure_of(request))


@step("measure in force", **READ)
async def has_measure(env: Environment, service: str) -> bool:
    """Whether a measure is in force on the service."""
    return Record.read(await env.cloud_run.snapshot(service)).mitigation is not None


@task(name="restore", task_run_name="restore {service}", **REVERT)
async def restore_service(env: Environment, service: str) -> ServiceSnapshot:
    """The service is as it was before the first measure. Raises: Overwritten, as `mitigate_service`."""
    snapshot = await _measured(env, service, mitigation.to_restore)
    get_run_logger().info("%s serves %s with %s", service, snapshot.served, snapshot.scaling)
    return snapshot


async def _measured(
    env: Environment, service: str, step: Callable[[ServiceSnapshot], Change | None], at_s: float | None = None
) -> ServiceSnapshot:
    """As `ensure`, once: of two people who take measures at the same time the later one's stands, and both know it."""
    try:
        return await ensure(env, service, step, gives_way=True)
    except Overwritten:
        raise Overwritten(mitigation.replaced(await env.cloud_run.snapshot(service), at_s)) from None
