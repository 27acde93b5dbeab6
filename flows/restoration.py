"""What no ``down`` can undo: a backup is restored beside production, and production is pointed at it. People say yes
twice."""

import asyncio

from blocks.environment import Environment
from playbook.errors import Refused
from playbook.lease.lease import Lease
from playbook.messages.facts import Resolution
from playbook.migration import write_freeze
from playbook.migration.messages import as_found, ask_restore, ask_switch, asking, declined
from playbook.migration.plan import Backup, Way
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import notify
from tasks.incident import run_url
from tasks.lease import release_lease
from tasks.migration.consent import Consent, ask_consent
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
from tasks.migration.steps import record_migration_progress, repoint, start_writes


async def restore(env: Environment, lease: Lease, why: str) -> Lease | FlowResult:
    """The claim once production is pointed at what was restored; an Outcome where a person said no and nothing had
    been touched.

    Raises: Refused (a no after something was touched, a restore that failed); writes stay off.
    """
    if lease.migration_rollback.bases:  # people have said yes to all of it
        return await switch(env, lease)
    backup = await find_backup(env, lease.migration_rollback.plan)
    lost = await count_lost(env, backup)
    assert env.atlas is not None
    target = env.atlas.restore_cluster
    if lease.migration_rollback.snapshot != backup.id:
        answer = await ask(env, lease, ask_restore(lease, backup, lost, target, why))
        if not answer.is_yes:
            return await decline(env, lease, answer)
        lease = await agreed(env, lease, answer, snapshot=backup.id)
    lease = await restored(env, lease, backup)
    if not can_switch(env):
        raise Refused(cannot_switch(env))
    answer = await ask(env, lease, ask_switch(lease, backup, lost, target))
    if not answer.is_yes:
        raise Refused(f"{answer}. Production is not pointed at {target}.")
    lease = await agreed(env, lease, answer)
    return await switch(env, lease)


async def ask(env: Environment, lease: Lease, question: str) -> Consent:
    """What a person says in the UI; the incident's room knows that somebody is asked."""
    await notify(env, asking(lease, env.name, run_url(env, lease)))
    return await ask_consent(question, env.policy.gate_deadline_s)


async def agreed(env: Environment, lease: Lease, answer: Consent, **changes: object) -> Lease:
    """The yes stands in the claim, with who gave it."""
    said = (*lease.migration_rollback.agreed, str(answer))
    return await record_migration_progress(env, write_freeze.with_migration_rollback(lease, agreed=said, **changes))


async def restored(env: Environment, lease: Lease, backup: Backup) -> Lease:
    """The backup is on the separate cluster, and it is the right one. Raises: Refused."""
    if not lease.migration_rollback.restore_job:
        job = await start_restore(env, backup.id)
        lease = await record_migration_progress(env, write_freeze.with_migration_rollback(lease, restore_job=job))
    if problem := await follow_restore(env, lease.migration_rollback.restore_job):
        await record_migration_progress(
            env, write_freeze.with_migration_rollback(lease, restore_job="")
        )  # the next try is a new one
        raise Refused(f"{problem}.")
    if problem := await verify_restore(env, lease):
        raise Refused(f"What was restored is not what is needed: {problem}.")
    return lease


async def switch(env: Environment, lease: Lease) -> Lease:
    """A copy of each service's revision reads the restored database; users are still kept out.

    That it is decided stands in the claim first: whoever finds the secret changed must know what for.
    """
    if not lease.migration_rollback.bases:
        lease = await record_migration_progress(env, write_freeze.repointed(lease))
    await store_connection(env)
    bases = lease.migration_rollback.bases
    await asyncio.gather(*(repoint(env, lease, service, base) for service, base in bases.items()))
    return lease


async def decline(env: Environment, lease: Lease, answer: Consent) -> FlowResult:
    """Nobody wants the backup. Where the data was not touched, everything is opened again as it was found.

    Raises: Refused (a ``down`` has touched the data).
    """
    if lease.migration_rollback.plan.way is not Way.RESTORE:
        raise Refused(f"{answer}. The data is between two schemas.")
    return await reopen(env, await record_migration_progress(env, write_freeze.declined(lease, str(answer))))


async def reopen(env: Environment, lease: Lease) -> FlowResult:
    """A claim that says no is carried out: writes are on as they were found, everybody knows, nothing is held."""
    for service in lease.services:
        await start_writes(env, lease, service)
    await notify(env, declined(lease, env.name))
    await notify(env, Resolution(key=lease.release_id))
    for service in reversed(lease.services):
        await release_lease(env, lease, service)
    message = f"{lease.migration_rollback.declined}. The data was not touched. Open again: {as_found(lease)}."
    return FlowResult(end=ReleaseOutcome.REFUSED, message=message, release_id=lease.release_id)
