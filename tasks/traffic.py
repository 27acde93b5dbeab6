"""The steps that move users: deploy the canary, shift, promote, revert.

Each does nothing where that is so already.
"""

from functools import partial

from prefect import get_run_logger, task

from blocks.environment import Environment
from playbook.errors import Fenced, Gone, Refused, StartFailed, StillStarting, Transient
from playbook.lease import change, settled
from playbook.lease.lease import Lease
from playbook.release.traffic import ServiceSnapshot
from tasks.ensure import ensure
from tasks.retries import READ, REVERT, WRITE, is_last_try, step


@step("deploy canary", **WRITE)
async def deploy_canary(env: Environment, lease: Lease, service: str) -> str | None:
    """The new revision is ready, tagged, and no user is sent to it. Returns why it did not start, or None."""
    overrides = env.service(service).environment
    canary = lease.rollout(service).to_revision
    try:
        await ensure(env, service, partial(change.to_deploy, lease=lease, overrides=overrides))
    except StartFailed as failed:
        get_run_logger().error("%s", failed)
        return str(failed)
    except StillStarting as slow:
        if not is_last_try(WRITE):
            raise
        return f"{slow} It was waited for as long as a write may take, and no user is sent to it. Read its logs."
    revision = await env.cloud_run.revision(service, canary)
    if not revision.is_ready:
        return f"{service}: revision {canary} did not start: {revision.reason}. Read its logs."
    get_run_logger().info("%s: %s is ready at 0 %%", service, canary)
    return None


@step("canary", **WRITE)
async def shift_to_canary(env: Environment, lease: Lease, service: str) -> ServiceSnapshot:
    """The canary has its share of the users, and it is served."""
    snapshot = await ensure(env, service, partial(change.to_bake, lease=lease))
    get_run_logger().info("%s serves %s", service, snapshot.served)
    return snapshot


@task(name="scale", task_run_name="scale {service} in {env.name}", **WRITE)
async def scale(env: Environment, lease: Lease, service: str) -> ServiceSnapshot:
    """The service keeps as many instances as the playbook allows at most (4, scenario 3)."""
    instances = env.policy.scale_max_instances
    snapshot = await ensure(env, service, partial(change.to_scale, lease=lease, instances=instances))
    get_run_logger().info("%s keeps at least %d instances", service, snapshot.scaling.min_instances)
    return snapshot


@step("promote", **WRITE)
async def promote(env: Environment, lease: Lease, service: str) -> ServiceSnapshot:
    """The canary serves all users; the revision before it is kept alive by a tag.

    What is served counts: a service that was promoted before and can no longer be written to (its annotations were
    spoilt) does not take the others back.
    """
    try:
        snapshot = await ensure(env, service, partial(change.to_promote, lease=lease))
    except Refused as refusal:
        snapshot = await env.cloud_run.snapshot(service)
        if not snapshot.serves(lease.target(lease.rollout(service))):
            raise
        get_run_logger().warning("%s serves all users, but cannot be written to: %s", service, refusal)
    get_run_logger().info("%s serves %s", service, snapshot.served)
    return snapshot


@task(name="revert", task_run_name="revert {service} in {env.name}", **REVERT)
async def revert(env: Environment, lease: Lease, service: str) -> list[str]:
    """All users are where the lease takes them back to, and it is served. Returns a sentence for each dead tag of other
    people that had to be removed for it, or for a participant that was deleted: it has no users.

    Raises: Fenced (a newer run has the lease), OutOfBandChange (also: another run had a participant first).
    """
    dropped: list[str] = []
    try:
        snapshot = await ensure(env, service, partial(change.to_revert, lease=lease), dropped)
    except Gone:
        if service == lease.coordinator:
            raise
        return [f"{service} was deleted meanwhile: it has no users to take back."]
    except Fenced:
        there, coordinator = [await env.cloud_run.snapshot(one) for one in (service, lease.coordinator)]
        settled.check_taken_first(there, coordinator, lease)
        raise
    get_run_logger().info("%s serves %s", service, snapshot.served)
    return dropped


@step("check settled", **READ)
async def check_settled(env: Environment, lease: Lease, service: str) -> None:
    """No other person has moved users of the service since the release's last step there.

    What cannot be looked at is taken to be as it was left: people are told what was done all the same.
    Raises: Fenced (a newer run has the release), OutOfBandChange (another person moved them).
    """
    try:
        settled.check_settled(await env.cloud_run.snapshot(service), lease)
    except Transient as away:
        if not is_last_try(READ):
            raise
        get_run_logger().warning("%s: could not be looked at: %s", service, away)
    except Refused as refusal:
        get_run_logger().warning("%s: could not be looked at: %s", service, refusal)
