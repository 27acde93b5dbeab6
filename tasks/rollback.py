"""The step of a rollback that no release has: what there is to go back to."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from prefect import get_run_logger, task

from blocks.environment import Environment
from playbook.errors import Gone, ReleaseError
from playbook.lease.record import Unreadable
from playbook.release.traffic import Revision
from playbook.rollback import unrecorded
from playbook.rollback.plan import ServiceState, stays
from tasks.each_service import read_services, settle_reads, unread
from tasks.ensure import ensure
from tasks.retries import READ, REVERT, step

LOOK_S = 3
"""A look at a service that is not moved may take so long."""


class Found(NamedTuple):
    """What is known of each service that can be rolled back, and what is set aside."""

    services: dict[str, ServiceState]
    aside: tuple[Unreadable, ...]


@step("find revisions", **READ)
async def find_revisions(env: Environment) -> Found:
    """Every service of the environment as it is now, with the revisions that exist; in order of promotion.

    One that is still reconciling is no reason to wait: what is under way there may be what is wrong. One that cannot
    be read is set aside: the others go back without it.
    """
    found = await read_services(env, env.service_names)
    listed, failures = await settle_reads({service: env.cloud_run.revisions(service) for service in found.records})
    services = {
        service: ServiceState(snapshot=found.snapshots[service], revisions=revisions)
        for service, revisions in listed.items()
    }
    return Found(services, (*found.aside, *unread(failures)))


async def left_out_words(env: Environment, names: Sequence[str], version: str) -> str:
    """What is said of services that were taken out of the environment's file; empty where all serve something else, or
    were deleted. Users of the others wait: each is asked once."""

    async def said(name: str) -> str:
        try:
            async with asyncio.timeout(LOOK_S):
                return stays(await env.cloud_run.snapshot(name), version, env.gcloud_flags)
        except Gone:
            return ""
        except (ReleaseError, TimeoutError) as away:
            return f"{name} is no longer in {env.name}'s file and stays as it is; it could not be read: {away}"

    return "".join(f" {words}" for words in await asyncio.gather(*map(said, names)) if words)


@step("list revisions", **READ)
async def list_revisions(env: Environment) -> Mapping[str, tuple[Revision, ...]]:
    """The revisions of each service, newest first; a service that cannot be listed is left out, and the log says why.

    Raises: Transient while asking again may help.
    """
    found, failures = await settle_reads({name: env.cloud_run.revisions(name) for name in env.service_names})
    for service, error in failures.items():
        get_run_logger().warning("%s: its revisions cannot be listed: %s", service, error)
    return found


@task(name="move users", task_run_name="move users of {service}", **REVERT)
async def move_users(env: Environment, service: str, revision: str) -> None:
    """All users of the service are on ``revision``, and it is served; our annotations stay as they are."""
    await ensure(env, service, partial(unrecorded.to_move, revision=revision))
