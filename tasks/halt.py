"""A migration rollback stops: a person is paged, and the page names the services whose writes are off."""

from typing import NamedTuple

from prefect import task

from blocks.environment import Environment
from playbook.lease.halted import is_closed, not_newer
from playbook.lease.lease import MigrationLease
from playbook.messages.halt import go_on, halted
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.each_service import settle
from tasks.notify import notify
from tasks.retries import WRITE


class Closed(NamedTuple):
    """The services whose writes are off right now, and those that could not be read."""

    off: tuple[str, ...]
    unseen: tuple[str, ...] = ()


@task(name="where writes are off", task_run_name="where writes are off", **WRITE)
async def closed_services(env: Environment, lease: MigrationLease) -> Closed:
    """The services whose writes are off, for the page. A service that cannot be read is listed; it does not stop the
    page.

    Raises: Fenced (a newer run has the coordinator).
    """
    seen, failures = await settle({service: env.cloud_run.snapshot(service) for service in lease.services})
    if lease.coordinator in seen:
        not_newer(seen[lease.coordinator], lease)
    return Closed(tuple(service for service, one in seen.items() if is_closed(one, lease)), tuple(failures))


async def notify_stopped(env: Environment, lease: MigrationLease, why: str) -> FlowResult:
    """The page goes out before the lease says that it stopped: no run goes on with a stopped one, or pages for it.

    Raises: Fenced (a newer run has it; no page is sent).
    """
    closed = await closed_services(env, lease)
    state = f"Writes to {', '.join(closed.off)} are off. " if closed.off else ""
    state += f"Whether writes to {', '.join(closed.unseen)} are off could not be checked. " if closed.unseen else ""
    await notify(env, halted(lease, env.name, f"{why} {state}"))
    return FlowResult(end=ReleaseOutcome.HALTED, message=f"{why} {state}{go_on(env.name)}", release_id=lease.release_id)
