"""Changing the data: tried on copies first, then range by range under the lease's epoch, then verified."""

from uuid import UUID

from prefect import artifacts, get_run_logger, task

from blocks.database import Database
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import Refused, Transient
from playbook.lease.lease import MigrationLease
from playbook.migration.backfill import Backfill, Trial, is_known, next_range
from playbook.migration.loss import Loss, kept_fields, losing
from playbook.migration.plan import Batch, Migration
from playbook.migration.progress import progress_of
from tasks.migration.schema import modules
from tasks.migration.steps import check_closed
from tasks.retries import READ, WRITE, step

COPIES = 100
"""How many documents a change is tried on first."""
SHOWN_EVERY = 10
"""Ranges after which the UI shows how far it is, and the services are looked at: a person may have opened one."""


@task(name="dry run", task_run_name="dry run {name}", **READ)
async def dry_run(env: Environment, name: str) -> str:
    """What taking ``name`` back would change. The documents are only read; copies of a few are changed.

    Raises: Refused (its ``match`` meets what its ``change`` made, or the change does nothing).
    """
    database, migration = _database(env), _migration(env, name)
    told = [str(await _tried(database, name, batch)) for batch in migration.down]
    get_run_logger().info("%s would change %s", name, "; ".join(told))
    return "; ".join(told)


async def _tried(database: Database, name: str, batch: Batch) -> Trial:
    """What the batch does to copies of the first documents that it would change. Raises Refused, as `dry_run`."""
    trial = await database.try_out(batch, COPIES)
    if problem := trial.problem(batch):
        raise Refused(f"{name}: {problem}")
    return trial


@task(name="count losses", task_run_name="count losses", **READ)
async def count_losses(env: Environment, undo: tuple[str, ...]) -> list[Loss]:
    """What the downs of these migrations would take from documents, each field counted; what no document has is left
    out."""
    database = _database(env)
    found = losing([_migration(env, name) for name in undo])
    losses = [Loss(losing=one, documents=await database.count(one.collection, one.match)) for one in found]
    return [one for one in losses if one.documents]


@task(name="undo", task_run_name="undo {name}", **WRITE)
async def undo(env: Environment, lease: MigrationLease, name: str) -> Backfill:
    """Every document is as it was before ``name``. Goes on from the checkpoint, whichever run wrote it.

    What the ``down`` takes from documents is copied first, unless the environment file says that it is not.

    Raises: Fenced (a newer run has it), Transient (asked again from where it is), OutOfBandChange (a person has
    turned writes on), Refused.
    """
    database, migration = _database(env), _migration(env, name)
    assert env.migrations is not None
    backfill = await _begin(database, lease, migration)
    shown = await _show(backfill)
    ranges = 0
    while backfill.batch < len(migration.down):
        batch = migration.down[backfill.batch]
        # The run that goes on meets first what a change has left matching, and must not change it once more.
        await _tried(database, name, batch)
        fields = kept_fields(batch) if env.migrations.keep_old_values else ()
        while within := next_range(await _ids(database, batch, backfill.after, env.migrations.batch)):
            await database.keep(backfill)  # nothing is written under an old epoch
            if fields:
                await database.retain(batch, within, fields, lease.release_id, f"{name}/{backfill.batch}")
            changed = await database.change(batch, within)
            if left := await database.left(batch, within):
                raise Refused(
                    f"{name}: {left} documents of {batch.collection} from {within.first!r} to {within.last!r} still "
                    "match after the change, which must not be made twice. Narrow match to what is not changed yet."
                )
            backfill = backfill.past(within, changed)
            ranges += 1
            if ranges % SHOWN_EVERY == 0:
                await _show(backfill, shown)
                await _look(env, lease)
        backfill = backfill.next_batch()
        if backfill.batch < len(migration.down):
            batch = migration.down[backfill.batch]
            backfill = backfill.reached(await database.count(batch.collection, batch.match))
    await database.keep(backfill)
    await _show(backfill, shown)
    await check_closed(env, lease)
    get_run_logger().info("%s: %s changed", name, backfill)
    return backfill


@step("count old values", **READ)
async def count_retained(env: Environment, lease: MigrationLease) -> int:
    """The old values of so many documents are kept."""
    return await _database(env).retained(lease.release_id)


@task(name="verify", task_run_name="verify {name}", **READ)
async def verify(env: Environment, lease: MigrationLease, name: str, backfill: Backfill) -> str:
    """No document is left to be changed, and the migration's own checks pass. Returns what is wrong, or nothing.

    Counts that differ alone say that other writes were made meanwhile, and not that the data is wrong: no backup is to
    be restored for it. Raises: Refused (they do, and no person has started it again who has read so).
    """
    database, migration = _database(env), _migration(env, name)
    collections = [batch.collection for batch in migration.down]
    drifted = backfill.drift(collections, [await database.count(collection) for collection in collections])
    found = []
    for index, batch in enumerate(migration.down):
        # The walk goes on from a batch once nothing matches it; what a later one makes may look like it again.
        is_last = batch.collection not in collections[index + 1 :]
        if is_last and (left := await database.count(batch.collection, batch.match)):
            found.append(f"{batch.collection}: {left} still match")
    found += await broken(database, migration)
    if found:
        return f"{name}: {'; '.join(drifted + found)}"
    if drifted:
        why = f"{name}: {'; '.join(drifted)}. Other writes were made meanwhile; look which. The rest is right."
        if not is_known(why, progress_of(lease).seen):
            raise Refused(why)
        get_run_logger().warning("a person who has read it goes on: %s", why)
    return ""


async def broken(database: Database, migration: Migration) -> list[str]:
    """Which of the checks for the schema before ``migration`` do not pass in ``database``."""
    counts = [(check, await database.broken(check)) for check in migration.checks_before]
    return [f"{count} {check.says} in {check.collection}" for check, count in counts if count]


@task(name="take out of the ledger", task_run_name="take {name} out of the ledger", **WRITE)
async def forget(env: Environment, name: str) -> None:
    """The ledger does not say any more that ``name`` is applied."""
    await _database(env).forget(name, _migration(env, name).digest)


@task(name="still applied", task_run_name="still applied", **READ)
async def still_applied(env: Environment, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of ``names`` that the ledger has, in their order."""
    applied = {line.name for line in await _database(env).applied()}
    return tuple(name for name in names if name in applied)


async def _begin(database: Database, lease: MigrationLease, migration: Migration) -> Backfill:
    """The walk from its checkpoint, or a new one, kept under this lease's epoch. Raises Fenced."""
    kept = await database.backfill(migration.name)
    if kept is None:
        totals = [await database.count(batch.collection) for batch in migration.down]
        matching = [await database.count(batch.collection, batch.match) for batch in migration.down]
        backfill = Backfill.begin(migration.name, lease.epoch, totals, matching)
    else:
        get_run_logger().info("%s goes on: %s were changed already", migration.name, kept)
        backfill = kept.model_copy(update={"epoch": lease.epoch})
        if backfill.batch < len(migration.down):
            batch = migration.down[backfill.batch]
            backfill = backfill.counted(await database.count(batch.collection, batch.match))
    await database.take(backfill)
    return backfill


async def _show(backfill: Backfill, shown: UUID | None = None) -> UUID | None:
    """The UI shows how far the walk is, as the artifact that is returned. No walk waits for it."""
    told = f"{backfill.migration}: {backfill}"
    try:
        if shown is None:
            return await artifacts.acreate_progress_artifact(backfill.share * 100, description=told)
        await artifacts.aupdate_progress_artifact(shown, backfill.share * 100, description=told)
    except PREFECT_AWAY as away:
        get_run_logger().warning("not shown: %s (%s)", told, away)
    return shown


async def _look(env: Environment, lease: MigrationLease) -> None:
    """Writes are still off, as far as can be seen: no walk waits for Cloud Run. Raises: OutOfBandChange, Fenced."""
    try:
        await check_closed(env, lease)
    except Transient as unseen:
        get_run_logger().warning("not looked at: %s", unseen)


async def _ids(database: Database, batch: Batch, after: object, limit: int) -> list[object]:
    """The next documents beyond ``after``; at the end, those that are left anywhere: ids of another type sort apart."""
    found = await database.ids(batch, after, limit)
    return found or (await database.ids(batch, None, limit) if after is not None else [])


def _database(env: Environment) -> Database:
    assert env.mongodb is not None
    return env.mongodb


def _migration(env: Environment, name: str) -> Migration:
    """Raises Refused where the module is gone since the rollback was planned."""
    found = {migration.name: migration for migration in modules(env)}
    if name not in found:
        raise Refused(f"{name}: its module is not in the migrations folder any more. Put it back.")
    return found[name]
