"""``python -m blocks adopt ENVIRONMENT``: records that the engine has not signed are shown, and signed after a yes.

For the records of the first edition, and for those signed with a key that is about to go. Run it on the worker's
machine while no run is under way: it reads the signing key.
"""

import asyncio
from collections.abc import Callable, Sequence

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import ReleaseError
from playbook.lease.adoption import Adoption, described, to_adopt, to_remove
from playbook.lease.change import Change
from playbook.lease.record import Record, Unreadable, ours
from playbook.release.traffic import ServiceSnapshot

Say = Callable[[str], None]
Ask = Callable[[str], str]


async def adopt(env: Environment, remove: Sequence[str], say: Say, ask: Ask) -> int:
    """The records of ``env`` are signed, and those of the services in ``remove`` are removed, if a person says yes.

    Returns the exit status: 0 done or nothing to do, 1 not done, 2 ``remove`` names no service.
    """
    if unknown := [name for name in remove if name not in env.service_names]:
        say(f"{env.name} has no service {', '.join(unknown)}; it has {', '.join(env.service_names)}.")
        return 2
    try:
        keys = await env.signer.keys()
        snapshots = [await env.cloud_run.snapshot(service) for service in env.service_names]
    except ReleaseError as error:
        say(str(error))
        return 1
    if not keys:
        say(f"{env.name} signs nothing. Add [signing] to its file and apply it first.")
        return 1
    due: list[tuple[ServiceSnapshot, Record]] = []
    status = 0
    for snapshot in snapshots:
        if snapshot.service in remove:
            due += _removal(env, snapshot, snapshots, say)
            continue
        found = to_adopt(snapshot, keys, env.services)
        if isinstance(found, Adoption):
            say(f"{found.service}: would be signed ({found.why})")
            for line in found.lines:
                say(f"    {line}")
            due.append((snapshot, found.record))
        elif isinstance(found, Unreadable):
            status = 1
            say(f"{found.service}: cannot be signed: {found.problem}. Start from nothing: --remove {found.service}")
        else:
            say(f"{snapshot.service}: nothing to sign")
    if not due:
        return status
    if ask(f"Sign {len(due)} of {len(snapshots)} records? Type the environment's name to confirm: ") != env.name:
        say("Nothing was written.")
        return 1
    return await _write(env, due, say) or status


def _removal(
    env: Environment, snapshot: ServiceSnapshot, snapshots: Sequence[ServiceSnapshot], say: Say
) -> list[tuple[ServiceSnapshot, Record]]:
    if not ours(snapshot.annotations):
        say(f"{snapshot.service}: has no annotations of ours")
        return []
    record = Record.parse(snapshot.service, snapshot.annotations)
    say(f"{snapshot.service}: what its annotations say would be REMOVED; users stay where they are")
    lines = [record.problem] if isinstance(record, Unreadable) else described(record, env.services)
    for line in lines:
        say(f"    {line}")
    believed = [found for one in snapshots if isinstance(found := Record.of(one), Record) and one is not snapshot]
    return [(snapshot, to_remove(snapshot.service, believed, unix_s()))]


async def _write(env: Environment, due: Sequence[tuple[ServiceSnapshot, Record]], say: Say) -> int:
    """Side by side: a recovery that comes between would find some signed and some not."""
    writes = [env.cloud_run.write(snapshot, Change(record=record)) for snapshot, record in due]
    results = await asyncio.gather(*writes, return_exceptions=True)
    status = 0
    for (snapshot, _), result in zip(due, results, strict=True):
        if isinstance(result, ReleaseError):
            status = 1
            say(f"{snapshot.service}: not signed: {result} Run this again.")
        elif isinstance(result, BaseException):
            raise result
        else:
            say(f"{snapshot.service}: signed")
    return status
