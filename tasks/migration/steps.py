"""The steps of a migration rollback (playbook 4, scenario 3). Each does nothing where the world is so already."""

import asyncio
import time
from functools import partial
from typing import NamedTuple

from prefect import artifacts, get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.migrations import load
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import Conflict, Fenced, Refused, ReleaseError, SmokeFailed, Transient
from playbook.lease.lease import Kind, Lease, Record, next_epoch
from playbook.migration import write_freeze
from playbook.migration.messages import page
from playbook.migration.plan import (
    Migration,
    MigrationRequest,
    MigrationRollback,
    RollbackPlan,
    Way,
    code_problem,
    plan_rollback,
)
from playbook.migration.plan import schema_of as schema_by_ledger
from playbook.release.traffic import ServiceSnapshot
from playbook.release.version import SmokeTest
from playbook.rollback.plan import ServiceState
from tasks.ensure import ensure
from tasks.heartbeat import heartbeat
from tasks.retries import READ, REVERT, TELL, WRITE, is_last_try
from tasks.start import start


def modules(env: Environment) -> tuple[Migration, ...]:
    """The environment's migrations. Raises: BadRequest (a module is wrong), Refused (it names no folder)."""
    return load(folder_of(env))


def folder_of(env: Environment) -> str:
    """Where the environment's migrations are. Raises: Refused (it names none, or no database)."""
    if env.migrations is None or env.mongodb is None:
        raise Refused(f"{env.name} names no migrations. Add [mongodb] and [migrations] to its file.")
    return env.migrations.folder


@task(name="check schema", task_run_name="check schema", **READ)
async def check_schema(env: Environment, releases: dict[str, str], is_urgent: bool = False) -> None:
    """Each release (by the service that is to serve it) can read the database, or nothing is kept about that.

    A revision that no release made is only warned of: users may be waiting to be taken back to it. Where that
    ``is_urgent``, a database that does not answer stops nothing either.
    Raises: Refused, naming what the release reads and what the database has.
    """
    if env.migrations is None or env.mongodb is None:
        return
    migrations = modules(env)
    try:
        applied = await env.mongodb.applied()
    except Transient as away:
        if not is_urgent:
            raise
        get_run_logger().warning("which schema the database has is not known: %s", away)
        return
    schema = schema_by_ledger(migrations, applied)
    for service in env.migrations.services:
        if problem := code_problem(migrations, releases[service], schema) if service in releases else "":
            if releases[service]:
                raise Refused(f"{service}: {problem}")
            get_run_logger().warning("%s: %s", service, problem)


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
async def find_migration_rollback(env: Environment) -> Lease | None:
    """The migration rollback that holds the lead, if there is one. Raises: Refused (the environment names none).

    The modules are not read: one that is wrong meanwhile stops a rollback under way where it is, with a page.
    """
    folder_of(env)
    assert env.migrations is not None
    held = Record.read(await env.cloud_run.snapshot(env.migrations.services[0])).lease
    return held if held is not None and held.kind is Kind.MIGRATION else None


@task(name="hold services", task_run_name="hold services", **WRITE)
async def hold_services(env: Environment, request: MigrationRequest, plan: RollbackPlan) -> Lease:
    """This run holds every service that writes to the database; each knows the code it is opened with again.

    Raises: Held, Conflict, Fenced, BadRequest (to_release is unknown), Refused (no code can read what will be left;
    both ranges are named). What was taken by then is let go again, as it was found.
    """
    assert env.migrations is not None
    migrations = modules(env)
    found = {name: await _look(env, name) for name in env.migrations.services}
    maintenance = {name: closed for name in found if (closed := env.service(name).maintenance_revision)}
    for name, closed in maintenance.items():
        if not any(revision.name == closed and revision.is_ready for revision in found[name].revisions):
            raise Refused(f"{name}: its maintenance revision {closed} does not exist or is not ready. Deploy it.")
    goods = {
        name: write_freeze.code_after(one, migrations, plan.schema_after, request.to_release_lease)
        for name, one in found.items()
    }
    now_s = unix_s()
    lease = write_freeze.build_migration_lease(
        found,
        goods,
        MigrationRollback(request=request, plan=plan, environment=env.name, maintenance=maintenance),
        flow_run_id=str(runtime.flow_run.get_id()),
        epoch=next_epoch(max(Record.read(one.snapshot).epoch for one in found.values()), now_s),
        now_s=now_s,
    )
    taken: list[str] = []
    heartbeat(env, lease)
    try:
        for service in lease.services:
            await ensure(env, service, partial(write_freeze.to_hold, lease=lease))
            taken.append(service)
    except (Refused, Conflict, Fenced):
        for service in reversed(taken):
            await ensure(env, service, partial(write_freeze.to_let_go, lease=lease))
        raise
    get_run_logger().info("%s holds %s, epoch %d", lease.release_id, ", ".join(lease.services), lease.epoch)
    heartbeat(env, lease)
    return lease


async def _look(env: Environment, service: str) -> ServiceState:
    snapshot, revisions = await asyncio.gather(env.cloud_run.snapshot(service), env.cloud_run.revisions(service))
    return ServiceState(snapshot=snapshot, revisions=revisions)


async def restart_migration_rollback(env: Environment, found: Lease) -> None:
    """A run goes on with the rollback ``found``, which has lost its process; asked twice for one epoch, one does.

    It is asked without a reason, as no person may: should the rollback be over when it begins, it must begin no other.
    """
    request = MigrationRequest(migration=found.migration_rollback.plan.undo[-1])
    parameters = {"environment": env.name, "request": request.model_dump(mode="json")}
    key = f"migration-rollback/{env.name}/{found.release_id}/{found.epoch}"
    await start(f"migration-rollback/{env.name}", parameters, key)


@task(name="note on lead", task_run_name="note on lead", **WRITE)
async def record_migration_progress(env: Environment, lease: Lease) -> Lease:
    """The lead carries the rollback as far as it is. Returns the claim."""
    await ensure(env, lease.coordinator, partial(write_freeze.to_note, lease=lease))
    return lease


@task(name="stop writes", task_run_name="stop writes {service}", **WRITE)
async def stop_writes(env: Environment, lease: Lease, service: str) -> ServiceSnapshot:
    """Nobody's write to the service reaches the database. Earlier traffic and scaling stand in the claim."""
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
        seen = await env.ethixai.refuses_writes(snapshot.uri, may_take_none=not has_accounts)
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
async def introduce(env: Environment, lease: Lease, service: str) -> None:
    """The code that will serve answers at its tag's URL; users still find the service closed."""
    await ensure(env, service, partial(write_freeze.to_introduce, lease=lease))
    get_run_logger().info("%s: %s answers at its tag", service, lease.rollout(service).stable.main)


@task(name="repoint", task_run_name="repoint {service}", **WRITE)
async def repoint(env: Environment, lease: Lease, service: str, base: str) -> None:
    """A copy of revision ``base`` runs without users, and reads the newest connection secret."""
    await ensure(env, service, partial(write_freeze.to_repoint, lease=lease, base=base))


@task(name="start writes", task_run_name="start writes {service}", **REVERT)
async def start_writes(env: Environment, lease: Lease, service: str) -> ServiceSnapshot:
    """Users are on code that can read the database, with the scaling and the tags that were found."""
    snapshot = await ensure(env, service, partial(write_freeze.to_open, lease=lease, policy=env.policy))
    get_run_logger().info("%s serves %s, scaling %s", service, snapshot.served, snapshot.scaling)
    return snapshot


@task(name="halt", task_run_name="halt", **WRITE)
async def halt(env: Environment, lease: Lease, why: str) -> None:
    """The lead says why it stopped, so that nothing goes on by itself."""
    await ensure(env, lease.coordinator, partial(write_freeze.to_halt, lease=lease, why=why))


class Closed(NamedTuple):
    """Whose writes are off right now, and which services could not be looked at."""

    off: tuple[str, ...]
    unseen: tuple[str, ...] = ()


@task(name="where writes are off", task_run_name="where writes are off", **WRITE)
async def closed_services(env: Environment, lease: Lease) -> Closed:
    """Where writes are off: what is said when somebody is woken, so one that cannot be read keeps nothing from being
    said.

    Raises: Fenced (a newer run has the lead).
    """
    looks = await asyncio.gather(
        *(env.cloud_run.snapshot(service) for service in lease.services), return_exceptions=True
    )
    seen = dict(zip(lease.services, looks, strict=True))
    off, unseen = [], []
    for service, one in seen.items():
        if isinstance(one, ServiceSnapshot):
            if service == lease.coordinator:
                write_freeze.not_newer(one, lease)
            off += [service] if write_freeze.is_closed(one, lease) else []
        elif isinstance(one, ReleaseError):
            unseen.append(service)
        else:
            raise one
    return Closed(tuple(off), tuple(unseen))


async def check_closed(env: Environment, lease: Lease) -> None:
    """Writes to every service are still off. Raises: Interrupted (somebody has turned them on), Transient, Fenced."""
    found = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in lease.services))
    write_freeze.not_newer(found[0], lease)
    for snapshot in found:
        write_freeze.check_closed(snapshot, lease)


@task(name="report", task_run_name="report: {text}", **TELL)
async def show(env: Environment, lease: Lease, lines: tuple[str, ...], text: str) -> tuple[str, ...]:
    """The page in the UI carries one more line, or will with the next: nothing waits for it. Returns all of them."""
    told = (*lines, f"{time.strftime('%H:%M:%S', time.gmtime(unix_s()))} UTC {text}")
    key = "".join(char if char.isalnum() else "-" for char in f"{env.name}-{lease.release_id}".lower())
    try:
        await artifacts.acreate_markdown_artifact(page(lease, env.name, told), key=key, description=text)
    except PREFECT_AWAY as away:
        get_run_logger().warning("the page does not say yet: %s (%s)", text, away)
    return told
