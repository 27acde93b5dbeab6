"""The steps of a rollback that no release has: what there is to go back to."""

import asyncio

from prefect import task

from blocks.environment import Environment
from playbook.rollback.plan import ServiceState
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
