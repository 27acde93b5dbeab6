"""Restoring a backup beside production, and pointing production at it: two questions to people, then two acts."""

import asyncio
import time

from prefect import get_run_logger, task

from blocks.clock import monotonic_s
from blocks.database import Backups, Database
from blocks.environment import Environment
from blocks.mongodb import hosts_of
from playbook.errors import Refused, Transient
from playbook.lease.lease import MigrationLease
from playbook.migration.plan import Backup, RollbackPlan, backup_before
from playbook.migration.progress import progress_of
from tasks.migration.backfill import broken
from tasks.migration.schema import modules
from tasks.retries import READ, WRITE


@task(name="find backup", task_run_name="find backup", **READ)
async def find_backup(env: Environment, plan: RollbackPlan) -> Backup:
    """The newest backup from before the migration was applied. Raises: Refused (there is none, or users are on the
    cluster that it would be restored to)."""
    await _refuse_live_target(env)
    at_s = plan.applied_at_s
    found = backup_before(await _atlas(env).backups(), at_s)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
    if found is None:
        raise Refused(
            f"There is no backup of {_atlas(env).cluster} from before {when}, when the migration was applied."
        )
    get_run_logger().info("%s is the last one before %s", found, when)
    return found


@task(name="count what would be lost", task_run_name="count what would be lost", **READ)
async def count_lost(env: Environment, backup: Backup) -> dict[str, int | None]:
    """Documents made or changed since the backup, by collection; None: they could not be counted in time."""
    assert env.mongodb is not None
    return await env.mongodb.written_since(backup.at_s)


@task(name="start restore", task_run_name="start restore of {backup}", **WRITE)
async def start_restore(env: Environment, backup: str, since_s: float) -> str:
    """A restore of the backup to the separate cluster is under way. Its id; one that is there already is it, if it is
    under way or has ended well since people agreed (``since_s``, unix seconds).

    Raises: Refused (users are on that cluster: a restore would remove what they have).
    """
    await _refuse_live_target(env)
    job = await _atlas(env).restore(backup, since_s)
    get_run_logger().info("restore %s of backup %s to %s", job, backup, _atlas(env).restore_cluster)
    return job


@task(name="follow restore", task_run_name="follow restore {job}", **READ)
async def follow_restore(env: Environment, job: str) -> str:
    """The restore is over. Returns why it ended badly, or nothing. Raises: Refused (it takes longer than it may).

    A look that fails is followed by the next, as long as it may take.
    """
    atlas, away = _atlas(env), ""
    ends_at = monotonic_s() + atlas.restore_wait_s
    while monotonic_s() < ends_at:
        try:
            found = await atlas.restore_job(job)
        except Transient as failed:
            away = f" ({failed})"
            get_run_logger().warning("restore %s could not be looked at: %s", job, failed)
        else:
            if found.is_over:
                return found.problem
            away = ""
        await asyncio.sleep(atlas.poll_interval_s)
    raise Refused(
        f"restore {job} is not known to be over after {atlas.restore_wait_s:.0f} s{away}. Look at it in Atlas."
    )


@task(name="verify restore", task_run_name="verify restore", **READ)
async def verify_restore(env: Environment, lease: MigrationLease) -> str:
    """What was restored is from before the migrations: by its ledger, its documents and the migration's own checks.

    Returns what is wrong, or nothing. Raises: Refused (the environment names no way to look).
    """
    restored, plan = restored_database(env), progress_of(lease).plan
    oldest = next(one for one in modules(env) if one.name == plan.undo[-1])
    applied = {line.name for line in await restored.applied()}
    found = [f"its ledger still has {name}" for name in plan.undo if name in applied]
    for collection in {check.collection for check in oldest.checks_before}:
        if not await restored.count(collection):
            found.append(f"{collection} is empty")
    found += await broken(restored, oldest)
    return "; ".join(found)


@task(name="store connection", task_run_name="store connection", **WRITE)
async def store_connection(env: Environment) -> None:
    """The connection secret's newest version leads to the restored database. Nothing is added where it does already.

    Raises: Refused (the environment names no secret, or may not write it).
    """
    assert env.migrations is not None
    uri = _atlas(env).restore_uri
    if not can_switch(env) or env.secret_manager is None or uri is None:
        raise Refused(cannot_switch(env))
    await env.secret_manager.put(env.migrations.connection_secret, await uri.read())


async def _refuse_live_target(env: Environment) -> None:
    """Users are not on the cluster that is restored to. After a switch they are, until both clusters are named anew.

    Raises: Refused.
    """
    atlas = _atlas(env)
    if atlas.restore_uri is None or env.mongodb is None:
        return
    uri = await atlas.restore_uri.read()
    lives_there = bool(hosts_of(uri) & hosts_of(await env.mongodb.uri.read()))
    if not lives_there and env.secret_manager and env.migrations and env.migrations.connection_secret:
        lives_there = await env.secret_manager.holds(env.migrations.connection_secret, uri)
    if lives_there:
        raise Refused(
            f"{env.name}'s database is on {atlas.restore_cluster}, and a restore removes everything there first. Swap "
            "atlas.cluster and atlas.restore_cluster, name the other cluster in atlas.restore_uri, and apply the file."
        )


def can_switch(env: Environment) -> bool:
    """Whether the environment names both the restored database and the secret that the services read."""
    return bool(
        env.atlas
        and env.atlas.restore_uri
        and env.secret_manager
        and env.migrations
        and env.migrations.connection_secret
    )


def cannot_switch(env: Environment) -> str:
    """What to do by hand where it does not."""
    return (
        f"{_atlas(env).restore_cluster} holds the backup and is verified, but {env.name} does not name both "
        "atlas.restore_uri and migrations.connection_secret. Point the services at it by hand, set mongodb.uri to it, "
        "and apply the file."
    )


def restored_database(env: Environment) -> Database:
    """The database on the restore cluster. Raises: Refused (the environment does not say how to reach it)."""
    assert env.mongodb is not None
    uri = _atlas(env).restore_uri
    if uri is None:
        raise Refused("Nothing was verified: atlas.restore_uri is not in the environment file. Add it.")
    return env.mongodb.at(uri)


def _atlas(env: Environment) -> Backups:
    if env.atlas is None:
        raise Refused(f"{env.name} names no backups. Add [atlas] to its file.")
    return env.atlas
