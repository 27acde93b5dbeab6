"""The steps of a migration rollback (playbook 4, scenario 3). Each does nothing where that is so already."""

import asyncio
import time
from functools import partial

from prefect import artifacts, get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import Refused, SmokeFailed, Transient
from playbook.lease import build
from playbook.lease.build import migration_rollout
from playbook.lease.halted import not_newer
from playbook.lease.lease import MigrationLease
from playbook.lease.record import Record
from playbook.messages.facts import Ticket
from playbook.migration import write_freeze
from playbook.migration.messages import page, ticket
from playbook.migration.plan import (
    MigrationRequest,
    MigrationRollback,
    RollbackPlan,
    Way,
    plan_rollback,
)
from playbook.migration.progress import details_of
from playbook.release.traffic import ServiceSnapshot
from playbook.release.version import SmokeTest
from playbook.rollback.plan import ServiceState
from tasks.address import application, audience_of, url_of
from tasks.ensure import ensure
from tasks.incident import postmortem_template
from tasks.lease import holder
from tasks.migration.schema import folder_of, modules
from tasks.retries import READ, REVERT, TELL, WRITE, is_last_try


@task(name="plan", task_run_name="plan", **READ)
async def plan_migration_rollback(env: Environment, request: MigrationRequest) -> RollbackPlan:
    """What taking the migration back will do to the data, from the folder and the ledger.

    Raises: BadRequest, Refused. Nothing is written.
    """
    migrations = modules(env)
    assert env.mongodb is not None
    plan = plan_rollback(migrations, await env.mongodb.applied(), request.migration)
    if plan.way is Way.RESTORE and env.atlas is None:
        raise Refused(f"{plan.why}, and {env.name} names no backups. Add [atlas] to its file.")
    get_run_logger().info(
        "%s: schema %d -> %d by %s", ", ".join(plan.undo), plan.schema_now, plan.schema_after, plan.way
    )
    return plan


@task(name="undoing under way", task_run_name="undoing under way", **READ)
async def find_migration_rollback(env: Environment) -> MigrationLease | None:
    """The migration rollback that holds the coordinator, if there is one. Raises: Refused (the environment names none).

    The modules are not read: one that is wrong meanwhile stops a rollback under way where it is, with a page.
    """
    folder_of(env)
    assert env.migrations is not None
    held = Record.read(await env.cloud_run.snapshot(env.migrations.services[0])).lease
    return held if isinstance(held, MigrationLease) else None


@task(name="plan lease", task_run_name="plan lease", **READ)
async def migration_lease(
    env: Environment, request: MigrationRequest, plan: RollbackPlan, agreed: tuple[str, ...] = ()
) -> MigrationLease:
    """The lease of this rollback: every service that writes to the database, and the code it is opened with again.
    ``agreed`` is what people have said yes to.

    Nothing is written. Raises: BadRequest (to_release is unknown), Refused (no code can read what will be left; both
    ranges are named).
    """
    assert env.migrations is not None
    migrations = modules(env)
    found = {name: await _look(env, name) for name in env.migrations.services}
    maintenance = {name: closed for name in found if (closed := env.service(name).maintenance_revision)}
    for name, closed in maintenance.items():
        if not any(revision.name == closed and revision.is_ready for revision in found[name].revisions):
            raise Refused(f"{name}: its maintenance revision {closed} does not exist or is not ready. Deploy it.")
    rollouts = tuple(
        migration_rollout(
            one.snapshot,
            write_freeze.code_after(one, migrations, plan.schema_after, request.to_release),
            one.revisions,
        )
        for one in found.values()
    )
    return build.migration_lease(
        plan.undo[-1],
        rollouts,
        (one.snapshot for one in found.values()),
        holder(env, unix_s()),
        requested_by=request.requested_by,
        reason=request.reason,
        maintenance=maintenance,
        details=details_of(MigrationRollback(request=request, plan=plan, environment=env.name, agreed=agreed)),
    )


async def _look(env: Environment, service: str) -> ServiceState:
    snapshot, revisions = await asyncio.gather(env.cloud_run.snapshot(service), env.cloud_run.revisions(service))
    return ServiceState(snapshot=snapshot, revisions=revisions)


@task(name="stop writes", task_run_name="stop writes {service}", **WRITE)
async def stop_writes(env: Environment, lease: MigrationLease, service: str) -> ServiceSnapshot:
    """No write to the service reaches the database. Earlier traffic and scaling stand in the lease."""
    snapshot = await ensure(env, service, partial(write_freeze.to_close, lease=lease))
    get_run_logger().info("%s serves %s, scaling %s", service, snapshot.served, snapshot.scaling)
    return snapshot


@task(name="prove that writes stop", task_run_name="prove that writes stop at {service}", **READ)
async def prove_closed(env: Environment, service: str) -> str:
    """A write at the service's own URL is refused with 503; the edge is given a while to learn it. Returns what was
    seen.

    A service without accounts, by its smoke tests in the environment file, may have no such write.
    Raises: SmokeFailed (writes are still taken).
    """
    snapshot = await env.cloud_run.snapshot(service)
    has_accounts = SmokeTest.AUTH in env.service(service).smoke
    try:
        seen = await application(env, service).refuses_writes(
            url_of(env, snapshot), may_take_none=not has_accounts, audience=audience_of(env, snapshot)
        )
    except SmokeFailed as taken:
        if is_last_try(READ):
            raise
        raise Transient(str(taken)) from taken
    get_run_logger().info("%s: %s", service, seen)
    return seen


@task(name="drain", task_run_name="drain", **READ)
async def drain(env: Environment) -> None:
    """Requests that were under way when writes were stopped are over: the policy's ``drain_s`` seconds have passed."""
    get_run_logger().info("requests that are under way may write for %.0f s", env.policy.drain_s)
    await asyncio.sleep(env.policy.drain_s)


@task(name="introduce", task_run_name="introduce {service}", **WRITE)
async def introduce(env: Environment, lease: MigrationLease, service: str) -> None:
    """The code that will serve answers at its tag's URL; users still find the service closed."""
    await ensure(env, service, partial(write_freeze.to_introduce, lease=lease))
    get_run_logger().info("%s: %s answers at its tag", service, lease.rollout(service).to_revision)


@task(name="repoint", task_run_name="repoint {service}", **WRITE)
async def repoint(env: Environment, lease: MigrationLease, service: str, base: str) -> None:
    """A copy of revision ``base`` runs without users, and reads the newest connection secret."""
    await ensure(env, service, partial(write_freeze.to_repoint, lease=lease, base=base))


@task(name="start writes", task_run_name="start writes {service}", **REVERT)
async def start_writes(env: Environment, lease: MigrationLease, service: str) -> ServiceSnapshot:
    """Users are on code that can read the database, with the scaling and the tags that were found."""
    snapshot = await ensure(env, service, partial(write_freeze.to_open, lease=lease, policy=env.policy))
    get_run_logger().info("%s serves %s, scaling %s", service, snapshot.served, snapshot.scaling)
    return snapshot


@task(name="halt", task_run_name="halt", **WRITE)
async def halt(env: Environment, lease: MigrationLease, why: str) -> None:
    """The coordinator says why it stopped, so that nothing goes on by itself."""
    await ensure(env, lease.coordinator, partial(write_freeze.to_halt, lease=lease, why=why))


async def check_closed(env: Environment, lease: MigrationLease) -> None:
    """Writes to every service are still off. Raises: OutOfBandChange (a person turned them on), Transient, Fenced."""
    found = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in lease.services))
    not_newer(found[0], lease)
    for snapshot in found:
        write_freeze.check_closed(snapshot, lease)


@task(name="report", task_run_name="report: {text}", **TELL)
async def show(env: Environment, lease: MigrationLease, lines: tuple[str, ...], text: str) -> tuple[str, ...]:
    """The page in the UI carries one more line, or will with the next: nothing waits for it. Returns all of them."""
    told = (*lines, f"{time.strftime('%H:%M:%S', time.gmtime(unix_s()))} UTC {text}")
    key = "".join(char if char.isalnum() else "-" for char in f"{env.name}-{lease.release_id}".lower())
    try:
        await artifacts.acreate_markdown_artifact(page(lease, env.name, told), key=key, description=text)
    except PREFECT_AWAY as away:
        get_run_logger().warning("the page does not say yet: %s (%s)", text, away)
    return told


@task(name="end migration rollback", task_run_name="end at {service}", **REVERT)
async def end_at(env: Environment, lease: MigrationLease, service: str) -> None:
    """The service is held by nothing any more, and what serves is written down as good."""
    await ensure(env, service, partial(write_freeze.to_end, lease=lease, now_s=unix_s()))


async def migration_ticket(env: Environment, lease: MigrationLease, lines: tuple[str, ...]) -> Ticket:
    """The ticket of a migration rollback: its page so far, and the draft of the post-mortem."""
    return ticket(lease, env.name, await postmortem_template(), lines, env.run_url(lease.flow_run_id))
