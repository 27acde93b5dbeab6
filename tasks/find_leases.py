"""The leases that stand on the services of an environment, and what becomes of each: for recovery and preemption."""

from functools import partial
from typing import NamedTuple

from prefect import get_run_logger

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Fenced, Gone
from playbook.lease import change
from playbook.lease.lease import Lease
from playbook.lease.origin import foreign, missing, outdated, taken_out
from playbook.lease.record import Aside, Record, Unreadable
from playbook.lease.recovery import Owner, Recovery, Step, recover, unless_stopped
from playbook.lease.settled import left_behind
from tasks.each_service import read_services, settle, settle_reads
from tasks.ensure import ensure
from tasks.retries import READ, REVERT, step


class Holdings(NamedTuple):
    """Every release that holds services, the services that point to one which is gone, and what is set aside."""

    leases: tuple[Lease, ...]
    orphans: tuple[str, ...]
    aside: tuple[Unreadable, ...]


@step("find leases", **READ)
async def find_leases(env: Environment) -> Holdings:
    """What is held in the environment, service by service: what cannot be believed is set aside. A coordinator that was
    taken out of its file is asked too.

    So is a lease of another time or place: one that names what this environment does not have, and one that is older
    than what stands on another of its services.
    """
    found = await read_services(env, env.service_names)
    named = {record.participant.coordinator for record in found.records.values() if record.participant}
    gone = await read_services(env, sorted(named - set(env.service_names)))
    records = (*found.records.values(), *gone.records.values())
    leases = {record.lease.release_id: record.lease for record in records if record.lease}
    is_signed = bool(env.signing.secrets)
    odd = {
        one.release_id: foreign(one, env.services, is_signed=is_signed) or outdated(one, found.records)
        for one in leases.values()
    }
    aside = [
        Unreadable(service=one.coordinator, problem="; ".join(odd[one.release_id])[:500], why=Aside.UNSIGNED)
        for one in leases.values()
        if odd[one.release_id]
    ]
    participants = {name: record.participant for name, record in found.records.items() if record.participant}
    orphans = tuple(name for name, participant in participants.items() if participant.release_id not in leases)
    return Holdings(tuple(one for one in leases.values() if not odd[one.release_id]), orphans, (*found.aside, *aside))


@step("free orphan", **REVERT)
async def free_orphan(env: Environment, service: str) -> Unreadable | None:
    """The service is back on what it was before a release whose lease is gone from its coordinator. Returns the
    coordinator where its users are still on what that release gave them.

    The coordinator is read after the participant: a release acquires its coordinator first and lets go of it last, so
    one that is not there then is over. Annotations of the coordinator that cannot be read hold nothing, nor does one
    that was deleted.
    """
    participant = Record.read(await env.cloud_run.snapshot(service)).participant
    if participant is None:
        return None
    problem = ""
    try:
        coordinator = await env.cloud_run.snapshot(participant.coordinator)
    except Gone:
        pass
    else:
        if isinstance(record := Record.of(coordinator), Record):
            if record.holder == participant.release_id:
                return None
            problem = left_behind(coordinator, record, participant.release_id)
    await ensure(env, service, partial(change.to_free_orphan, release_id=participant.release_id))
    return Unreadable(service=participant.coordinator, problem=problem) if problem else None


async def free_orphans(env: Environment, services: tuple[str, ...]) -> tuple[Unreadable, ...]:
    """Each of ``services`` is free, or it stays as it is, with the reason: the next recovery tries again. With them the
    coordinators that have lost a lease, and whose users are where it left them."""
    freed, failures = await settle({service: free_orphan(env, service) for service in services})
    for service, error in failures.items():
        get_run_logger().warning("%s was not freed: %s", service, error)
    lost = dict.fromkeys(one for one in freed.values() if one is not None)
    stuck = (
        Unreadable(service=service, problem=str(error)[:500], why=Aside.STUCK)
        for service, error in failures.items()
        if not isinstance(error, Fenced)
    )
    return (*lost, *stuck)


@step("find what stops it", **READ)
async def find_stops(env: Environment, found: Lease) -> list[str]:
    """What the lease names that its services do not have, and who was taken back while the coordinator, which could not
    be written, still says otherwise. A service whose revisions are not shown says nothing."""
    gone = [f"{one.name} is no service of {env.name} any more" for one in taken_out(found, env.services)]
    env = env.whole(found)
    listed, failures = await settle_reads({service: env.cloud_run.revisions(service) for service in found.services})
    for service, error in failures.items():
        get_run_logger().warning("%s: its revisions could not be looked at: %s", service, error)
    lacking = (
        missing(found, env.service(service), {one.name: one.image for one in revisions})
        for service, revisions in listed.items()
    )
    held = {name: record.participant for name, record in (await read_services(env, found.services)).records.items()}
    back = [name for name, one in held.items() if one and one.release_id == found.release_id and one.is_taken_back]
    begun = [f"its revert had begun: users of {' and '.join(back)} were back already"] if back else []
    return [*gone, *(problem for problems in lacking for problem in problems), *begun]


@step("judge recovery", **READ)
async def judge_recovery(env: Environment, found: Lease, owner: Owner) -> Recovery:
    """What becomes of a release, given what became of its process, and whether what it names is there."""
    decided = recover(found, owner, unix_s())
    if decided.step in (Step.RESUME, Step.HOLD):
        decided = unless_stopped(decided, found, await find_stops(env, found))
    get_run_logger().info("%s: %s, because %s", found.release_id, decided.step, decided.reason)
    return decided
