"""The steps of a rollback that no release has: what there is to go back to, and the lead's decisive write."""

import asyncio
from functools import partial

from prefect import get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.lease import change
from playbook.lease.lease import Lease, Record, next_epoch
from playbook.release.request import RollbackRequest
from playbook.release.traffic import ServiceSnapshot
from playbook.rollback.plan import RollbackPlan, ServiceState, build_rollback_lease
from tasks.ensure import ensure
from tasks.heartbeat import heartbeat, sending_heartbeats
from tasks.lease import place_of
from tasks.retries import READ, REVERT


@task(name="find revisions", task_run_name="find revisions", **READ)
async def find_revisions(env: Environment) -> dict[str, ServiceState]:
    """Every service of the environment as it is now, with the revisions that exist; in order of promotion.

    One that is still reconciling is no reason to wait: what is under way there may be what is wrong.
    """

    async def find(service: str) -> ServiceState:
        snapshot, revisions = await asyncio.gather(env.cloud_run.snapshot(service), env.cloud_run.revisions(service))
        return ServiceState(snapshot=snapshot, revisions=revisions)

    return {one.service: one for one in await asyncio.gather(*map(find, env.service_names))}


def lease_of(
    env: Environment,
    plan: RollbackPlan,
    request: RollbackRequest,
    found: dict[str, ServiceState],
    requested_at_s: float,
) -> Lease:
    """The claim with which this run carries out ``plan``."""
    now_s = unix_s()
    epochs = [Record.read(one.snapshot).epoch for one in found.values()]
    return build_rollback_lease(
        plan,
        request,
        flow_run_id=str(runtime.flow_run.get_id()),
        epoch=next_epoch(max(epochs), now_s),
        deadline_s=now_s + env.policy.claim_deadline_s,
        requested_at_s=requested_at_s,
        place=place_of(env),
    )


@task(name="begin rollback", task_run_name="begin rollback", **REVERT)
async def begin_rollback(env: Environment, lease: Lease) -> ServiceSnapshot:
    """The lead carries the decision and serves what is gone back to, in one update.

    Raises: Held (a release has it), Conflict (it changed since the plan), as `ensure`.
    """
    async with sending_heartbeats(env, lease):
        snapshot = await ensure(env, lease.coordinator, partial(change.to_begin_rollback, lease=lease))
    get_run_logger().info("%s: %s serves %s", lease.release_id, lease.coordinator, snapshot.served)
    heartbeat(env, lease)
    return snapshot
