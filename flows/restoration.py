"""What no ``down`` can undo: a backup is restored beside production, and production is pointed at it. People say yes
twice."""

import asyncio

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Refused
from playbook.lease.lease import MigrationLease
from playbook.messages.facts import Resolution
from playbook.migration import write_freeze
from playbook.migration.messages import as_found, ask_restore, ask_switch, asking, declined
from playbook.migration.plan import Backup, Way
from playbook.migration.progress import progress_of, with_progress
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.lease import save_lease
from tasks.migration.consent import Agreement, ask_consent
from tasks.migration.restore import (
    can_switch,
    cannot_switch,
    count_lost,
    find_backup,
    follow_restore,
    start_restore,
    store_connection,
    verify_restore,
)
from tasks.migration.steps import end_at, repoint, start_writes
from tasks.notify import notify


async def restore(env: Environment, lease: MigrationLease, why: str) -> MigrationLease | FlowResult:
    """The lease once production is pointed at what was restored; a FlowResult where a person said no and nothing had
    been touched.

    Raises: Refused (a no after something was touched, a restore that failed); writes stay off.
    """
    if progress_of(lease).bases:  # people have said yes to all of it
        return await switch(env, lease)
    backup = await find_backup(env, progress_of(lease).plan)
    lost = await count_lost(env, backup)
    assert env.atlas is not None
    target = env.atlas.restore_cluster
    if progress_of(lease).snapshot != backup.id:
        answer = await ask(env, lease, ask_restore(lease, backup, lost, target, why))
        if not answer.is_yes:
            return await decline(env, lease, answer)
        lease = await agreed(env, lease, answer, snapshot=backup.id, snapshot_agreed_at_s=unix_s())
    lease = await restored(env, lease, backup)
    if not can_switch(env):
        raise Refused(cannot_switch(env))
    answer = await ask(env, lease, ask_switch(lease, backup, lost, target))
    if not answer.is_yes:
        raise Refused(f"{answer}. Production is not pointed at {target}.")
    lease = await agreed(env, lease, answer)
    return await switch(env, lease)


async def ask(env: Environment, lease: MigrationLease, question: str) -> Agreement:
    """What a person says in the UI; the incident's room knows that a person is asked."""
    await notify(env, asking(lease, env.name, env.run_url(lease.flow_run_id)))
    return await ask_consent(question, env.policy.gate_deadline_s)


async def agreed(env: Environment, lease: MigrationLease, answer: Agreement, **changes: object) -> MigrationLease:
    """The yes stands in the lease, with who gave it."""
    said = (*progress_of(lease).agreed, str(answer))
    return await save_lease(env, with_progress(lease, agreed=said, **changes))


async def restored(env: Environment, lease: MigrationLease, backup: Backup) -> MigrationLease:
    """The backup is on the separate cluster, and it is the right one. Raises: Refused."""
    if not progress_of(lease).restore_job:
        job = await start_restore(env, backup.id, progress_of(lease).snapshot_agreed_at_s)
        lease = await save_lease(env, with_progress(lease, restore_job=job))
    if problem := await follow_restore(env, progress_of(lease).restore_job):
        await save_lease(env, with_progress(lease, restore_job=""))  # the next try is a new one
        raise Refused(f"{problem}.")
    if problem := await verify_restore(env, lease):
        raise Refused(f"The restored database is not as it has to be: {problem}.")
    return lease


async def switch(env: Environment, lease: MigrationLease) -> MigrationLease:
    """A copy of each service's revision reads the restored database; users are still kept out.

    That it is decided stands in the lease first: a run that finds the secret changed must know what for.
    """
    if not progress_of(lease).bases:
        lease = await save_lease(env, write_freeze.repointed(lease))
    await store_connection(env)
    bases = progress_of(lease).bases
    await asyncio.gather(*(repoint(env, lease, service, base) for service, base in bases.items()))
    return lease


async def decline(env: Environment, lease: MigrationLease, answer: Agreement) -> FlowResult:
    """The backup is not wanted. Where the data was not touched, everything is opened again as it was found.

    Raises: Refused (a ``down`` has touched the data).
    """
    if progress_of(lease).plan.way is not Way.RESTORE:
        raise Refused(f"{answer}. The data is between two schemas.")
    return await reopen(env, await save_lease(env, write_freeze.declined(lease, str(answer))))


async def reopen(env: Environment, lease: MigrationLease) -> FlowResult:
    """A lease that says no is carried out: writes are on as they were found, people are told, nothing is held."""
    for service in lease.services:
        await start_writes(env, lease, service)
    await notify(env, declined(lease, env.name))
    await notify(env, Resolution(key=lease.release_id))
    for service in reversed(lease.services):
        await end_at(env, lease, service)
    message = f"{progress_of(lease).declined}. The data was not touched. Open again: {as_found(lease)}."
    return FlowResult(end=ReleaseOutcome.REFUSED, message=message, release_id=lease.release_id, is_declined=True)
