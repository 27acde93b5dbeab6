"""What no ``down`` can undo: a backup is restored beside production, and production is pointed at it. People say yes
twice."""

import asyncio

from blocks.environment import Environment
from playbook import standstill
from playbook.claim import Claim
from playbook.errors import Refused
from playbook.messages import Resolution
from playbook.migration import Backup, Way
from playbook.outcome import End, Outcome
from playbook.undoing import as_found, ask_restore, ask_switch, asking, declined
from tasks.announce import tell
from tasks.claim import release_claim
from tasks.consent import Consent, ask_consent
from tasks.incident import run_url
from tasks.migration import note_undoing, repoint, start_writes
from tasks.restore import (
    can_switch,
    cannot_switch,
    count_lost,
    find_backup,
    follow_restore,
    start_restore,
    store_connection,
    verify_restore,
)


async def restore(env: Environment, claim: Claim, why: str) -> Claim | Outcome:
    """The claim once production is pointed at what was restored; an Outcome where a person said no and nothing had
    been touched.

    Raises: Refused (a no after something was touched, a restore that failed); writes stay off.
    """
    if claim.undoing.bases:  # people have said yes to all of it
        return await switch(env, claim)
    backup = await find_backup(env, claim.undoing.plan)
    lost = await count_lost(env, backup)
    assert env.atlas is not None
    target = env.atlas.restore_cluster
    if claim.undoing.snapshot != backup.id:
        answer = await ask(env, claim, ask_restore(claim, backup, lost, target, why))
        if not answer.is_yes:
            return await decline(env, claim, answer)
        claim = await agreed(env, claim, answer, snapshot=backup.id)
    claim = await restored(env, claim, backup)
    if not can_switch(env):
        raise Refused(cannot_switch(env))
    answer = await ask(env, claim, ask_switch(claim, backup, lost, target))
    if not answer.is_yes:
        raise Refused(f"{answer}. Production is not pointed at {target}.")
    claim = await agreed(env, claim, answer)
    return await switch(env, claim)


async def ask(env: Environment, claim: Claim, question: str) -> Consent:
    """What a person says in the UI; the incident's room knows that somebody is asked."""
    await tell(env, asking(claim, env.name, run_url(env, claim)))
    return await ask_consent(question, env.policy.gate_deadline_s)


async def agreed(env: Environment, claim: Claim, answer: Consent, **changes: object) -> Claim:
    """The yes stands in the claim, with who gave it."""
    said = (*claim.undoing.agreed, str(answer))
    return await note_undoing(env, standstill.with_undoing(claim, agreed=said, **changes))


async def restored(env: Environment, claim: Claim, backup: Backup) -> Claim:
    """The backup is on the separate cluster, and it is the right one. Raises: Refused."""
    if not claim.undoing.restore_job:
        job = await start_restore(env, backup.id)
        claim = await note_undoing(env, standstill.with_undoing(claim, restore_job=job))
    if problem := await follow_restore(env, claim.undoing.restore_job):
        await note_undoing(env, standstill.with_undoing(claim, restore_job=""))  # the next try is a new one
        raise Refused(f"{problem}.")
    if problem := await verify_restore(env, claim):
        raise Refused(f"What was restored is not what is needed: {problem}.")
    return claim


async def switch(env: Environment, claim: Claim) -> Claim:
    """A copy of each service's revision reads the restored database; users are still kept out.

    That it is decided stands in the claim first: whoever finds the secret changed must know what for.
    """
    if not claim.undoing.bases:
        claim = await note_undoing(env, standstill.repointed(claim))
    await store_connection(env)
    bases = claim.undoing.bases
    await asyncio.gather(*(repoint(env, claim, service, base) for service, base in bases.items()))
    return claim


async def decline(env: Environment, claim: Claim, answer: Consent) -> Outcome:
    """Nobody wants the backup. Where the data was not touched, everything is opened again as it was found.

    Raises: Refused (a ``down`` has touched the data).
    """
    if claim.undoing.plan.way is not Way.RESTORE:
        raise Refused(f"{answer}. The data is between two schemas.")
    return await reopen(env, await note_undoing(env, standstill.declined(claim, str(answer))))


async def reopen(env: Environment, claim: Claim) -> Outcome:
    """A claim that says no is carried out: writes are on as they were found, everybody knows, nothing is held."""
    for service in claim.services:
        await start_writes(env, claim, service)
    await tell(env, declined(claim, env.name))
    await tell(env, Resolution(key=claim.release_id))
    for service in reversed(claim.services):
        await release_claim(env, claim, service)
    message = f"{claim.undoing.declined}. The data was not touched. Open again: {as_found(claim)}."
    return Outcome(end=End.REFUSED, message=message, release_id=claim.release_id)
