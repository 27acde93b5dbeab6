"""The steps of a rollback that no release has: what there is to go back to, and the lease."""

import asyncio
import time

from prefect import runtime, task

from blocks.environment import Environment
from playbook.lease.lease import Lease, Record, next_epoch
from playbook.release.request import RollbackRequest
from playbook.rollback.plan import RollbackPlan, ServiceState, build_rollback_lease
from tasks.lease import place_of
from tasks.retries import READ


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
    now_s = time.time()
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
