"""The steps of a rollback that no release has: what there is to go back to, and the lead's decisive write."""

import asyncio
import time
from functools import partial

from prefect import get_run_logger, runtime, task

from blocks.environment import Environment
from playbook import change
from playbook.claim import Claim, Record, next_epoch
from playbook.requests import RollbackRequest
from playbook.rollback import Found, RollbackPlan, rollback_claim
from playbook.traffic import ServiceSnapshot
from tasks.beat import beat, heart
from tasks.claim import place_of
from tasks.ensure import ensure
from tasks.retries import READ, REVERT


@task(name="find revisions", task_run_name="find revisions", **READ)
async def find_revisions(env: Environment) -> dict[str, Found]:
    """Every service of the environment as it is now, with the revisions that exist; in order of promotion.

    One that is still reconciling is no reason to wait: what is under way there may be what is wrong.
    """

    async def find(service: str) -> Found:
        snapshot, revisions = await asyncio.gather(env.cloud_run.snapshot(service), env.cloud_run.revisions(service))
        return Found(snapshot=snapshot, revisions=revisions)

    return {one.service: one for one in await asyncio.gather(*map(find, env.service_names))}


def claim_of(
    env: Environment, plan: RollbackPlan, request: RollbackRequest, found: dict[str, Found], requested_at_s: float
) -> Claim:
    """The claim with which this run carries out ``plan``."""
    now_s = time.time()
    epochs = [Record.read(one.snapshot).epoch for one in found.values()]
    return rollback_claim(
        plan,
        request,
        flow_run_id=str(runtime.flow_run.get_id()),
        epoch=next_epoch(max(epochs), now_s),
        deadline_s=now_s + env.policy.claim_deadline_s,
        requested_at_s=requested_at_s,
        place=place_of(env),
    )


@task(name="begin rollback", task_run_name="begin rollback", **REVERT)
async def begin_rollback(env: Environment, claim: Claim) -> ServiceSnapshot:
    """The lead carries the decision and serves what is gone back to, in one update.

    Raises: Held (a release has it), Conflict (it changed since the plan), as `ensure`.
    """
    async with heart(env, claim):
        snapshot = await ensure(env, claim.lead, partial(change.to_begin_rollback, claim=claim))
    get_run_logger().info("%s: %s serves %s", claim.release_id, claim.lead, snapshot.served)
    beat(env, claim)
    return snapshot
