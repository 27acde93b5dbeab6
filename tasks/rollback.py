"""The step of a rollback that no release has: what there is to go back to."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from prefect import get_run_logger, task

from blocks.environment import Environment
from playbook.errors import Refused, Transient
from playbook.lease.record import Unreadable
from playbook.release.traffic import Revision
from playbook.rollback import unrecorded
from playbook.rollback.plan import ServiceState
from tasks.each_service import read_services
from tasks.ensure import ensure
from tasks.retries import READ, REVERT, is_last_try, step


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
    revisions = await asyncio.gather(
        *(env.cloud_run.revisions(service) for service in found.records), return_exceptions=True
    )
    services: dict[str, ServiceState] = {}
    aside = list(found.aside)
    for service, listed in zip(found.records, revisions, strict=True):
        if isinstance(listed, Transient) and not is_last_try(READ):
            raise listed
        if isinstance(listed, Refused | Transient):
            aside.append(Unreadable(service=service, problem=str(listed)[:500], is_read=False))
        elif isinstance(listed, BaseException):
            raise listed
        else:
            services[service] = ServiceState(snapshot=found.snapshots[service], revisions=listed)
    return Found(services, tuple(aside))


@step("list revisions", **READ)
async def list_revisions(env: Environment) -> Mapping[str, tuple[Revision, ...]]:
    """The revisions of each service, newest first; a service that cannot be listed is left out, and the log says why.

    Raises: Transient while asking again may help.
    """
    listed = await asyncio.gather(
        *(env.cloud_run.revisions(name) for name in env.service_names), return_exceptions=True
    )
    found: dict[str, tuple[Revision, ...]] = {}
    for service, one in zip(env.service_names, listed, strict=True):
        if isinstance(one, Refused) or (isinstance(one, Transient) and is_last_try(READ)):
            get_run_logger().warning("%s: its revisions cannot be listed: %s", service, one)
        elif isinstance(one, BaseException):
            raise one
        else:
            found[service] = one
    return found


@task(name="move users", task_run_name="move users of {service}", **REVERT)
async def move_users(env: Environment, service: str, revision: str) -> None:
    """All users of the service are on ``revision``, and it is served; our annotations stay as they are."""
    await ensure(env, service, partial(unrecorded.to_move, revision=revision))
