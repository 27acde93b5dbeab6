"""Acquiring, saving and releasing the lease, which lets one release at a time hold a service."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar

from prefect import get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Conflict, Fenced, Gone, Held, OutOfBandChange, Refused, ReleaseError, Transient, Unfinished
from playbook.lease import change
from playbook.lease.build import Holder
from playbook.lease.lease import Kind, Lease, next_epoch
from playbook.lease.origin import foreign, missing, outdated, taken_out
from playbook.lease.record import Aside, Record, Unreadable
from playbook.lease.recovery import Owner, Recovery, Step, recover, unless_missing
from playbook.lease.settled import left_behind
from playbook.messages.escape import shell
from playbook.release.plan import Order, is_live, version_due
from playbook.release.traffic import PREVIOUS_TAG, ServiceSnapshot
from tasks.address import unreachable
from tasks.each_service import read_services, settle, settle_reads
from tasks.ensure import CONFLICTS_MAX, dead_tags, ensure
from tasks.gcloud import gcloud_flags
from tasks.heartbeat import heartbeat, heartbeat_ended, sending_heartbeats
from tasks.retries import READ, REVERT, WRITE, step

T = TypeVar("T")
L = TypeVar("L", bound=Lease)


@step("signing key", **READ)
async def signing_key_problem(env: Environment) -> str:
    """Why nothing can be signed, in one sentence; empty where it can, or where the environment signs nothing."""
    try:
        await env.signer.keys()
    except Refused as unreadable:
        return str(unreadable)
    return ""


@step("look", **READ)
async def look(env: Environment, services: tuple[str, ...]) -> dict[str, ServiceSnapshot]:
    """One fresh read of each service.

    Raises: Transient while a change is not served yet, Refused where a tag is dead, or where smoke tests cannot reach a
    new revision.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in services))
    unsettled = [snapshot.service for snapshot in reads if snapshot.is_under_way]
    if unsettled:
        raise Transient(f"{', '.join(unsettled)}: still reconciling an earlier change.")
    tested = [one for one in reads if env.service(one.service).smoke]
    closed = [await unreachable(env, one) for one in tested]
    if any(closed):
        raise Refused(" ".join(filter(None, closed)))
    if taken := [problem for one in reads if (problem := taken_tag(env, one))]:
        raise Refused(" ".join(taken))
    dead = {one.service: await dead_tags(env, one.service, one.split) for one in reads}
    if problems := [
        f"{service}: tag {tag} is dead: {why}, and Cloud Run refuses every change of traffic for it. Remove it: "
        f"gcloud run services update-traffic {service} {gcloud_flags(env)} --remove-tags={shell(tag)}"
        for service, tags in dead.items()
        for tag, why in tags.items()
    ]:
        raise Refused(" ".join(problems))
    return {snapshot.service: snapshot for snapshot in reads}


def taken_tag(env: Environment, snapshot: ServiceSnapshot) -> str:
    """What to do where another person's tag has the name that a release of ours needs; empty where it is free.

    The tag of the release before is ours where it is on a revision that we have written down as good.
    """
    on, record = snapshot.split.tags.get(PREVIOUS_TAG), Record.parse(snapshot.service, snapshot.annotations)
    if on is None or not isinstance(record, Record) or record.holder:  # a release under way is named by the lease
        return ""
    if on in {good.revision for good in record.last_good}:
        return ""
    command = f"gcloud run services update-traffic {snapshot.service} {gcloud_flags(env)} --remove-tags={PREVIOUS_TAG}"
    return (
        f"{snapshot.service}: tag {PREVIOUS_TAG} is on {on}, and no release of ours put it there; a release needs it. "
        f"Give it another name: {command} --update-tags=NAME={shell(on)}"
    )


@step("already live", **READ)
async def already_live(env: Environment, order: Order, found: dict[str, ServiceSnapshot]) -> bool:
    """Whether every service of the order already gives all users exactly its image."""
    serving = {name: snapshot.pinned.main for name, snapshot in found.items()}
    revisions = await asyncio.gather(*(env.cloud_run.revision(name, main) for name, main in serving.items()))
    return is_live(order, found, {name: revision.image for name, revision in zip(serving, revisions, strict=True)})


@step("check free", **READ)
async def check_free(env: Environment, order: Order) -> None:
    """No release holds a service of the order, and no measure stands on one: nothing else is begun for a release that
    would be refused in the end.

    Raises: Held, Refused.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in order.images))
    for snapshot in reads:
        try:
            record = change.check_not_held(snapshot, str(order.version))
        except Held as held:
            raise await with_link(env, held) from held
        if record.mitigation is not None:
            raise Refused(record.mitigation.in_the_way(snapshot.service))


async def with_link(env: Environment, refusal: ReleaseError) -> ReleaseError:
    """``refusal``; one by a release that holds a service says where its run is seen, whichever service it was."""
    if not isinstance(refusal, Held):
        return refusal
    reads = await asyncio.gather(
        *(env.cloud_run.snapshot(service) for service in env.service_names), return_exceptions=True
    )
    snapshots = [read for read in reads if isinstance(read, ServiceSnapshot)]
    records = [Record.of(snapshot) for snapshot in snapshots]
    leases = [record.lease for record in records if isinstance(record, Record) and record.lease]
    links = (f"Its run: {env.run_url(lease.flow_run_id)}" for lease in leases if lease.release_id == refusal.holder)
    return Held(" ".join([str(refusal), *links]), is_same=refusal.is_same, holder=refusal.holder)


@step("version in staging", **READ)
async def version_in_staging(env: Environment, staging: Environment | None) -> str:
    """The version that passed staging last and that ``env`` has not had; empty where there is none.

    Raises: Refused (what stands in staging is not signed: other accounts may have written it).
    """
    if staging is None:
        return ""
    if env.signing.secrets and not staging.signing.secrets:
        raise Refused(
            f"{staging.name} signs nothing, so its annotations cannot say what {env.name} gets. Name the version, or "
            f"add [signing] to {staging.name}."
        )
    coordinator = env.service_names[0]
    passed = Record.read(await staging.cloud_run.snapshot(coordinator))
    return version_due(passed, Record.read(await env.cloud_run.snapshot(coordinator)))


def holder(env: Environment, requested_at_s: float | None = None) -> Holder:
    """This run, as a lease names it."""
    now_s = unix_s()
    return Holder(
        flow_run_id=str(runtime.flow_run.get_id()),
        now_s=now_s,
        deadline_s=now_s + env.policy.claim_deadline_s,
        place=gcloud_flags(env),
        requested_at_s=requested_at_s,
    )


@task(name="acquire", task_run_name="acquire the lease in {env.name}", **WRITE)
async def acquire(env: Environment, lease: Lease) -> None:
    """This run holds the services of ``lease``, whatever its kind, the coordinator first.

    The heartbeat runs from before the first write: a write may be served minutes after it was accepted. Where one
    service cannot be had, every service that was touched is let go again, also the one whose write failed: Cloud Run
    may have accepted it.
    Raises: Held (another release has a service; its run is named), Conflict (traffic changed since the plan), Fenced (a
    newer epoch holds it), Refused (also where Cloud Run does not enforce conditional writes here).
    """
    touched: list[str] = []
    try:
        async with sending_heartbeats(env, lease):
            for service in change.acquired_first(lease):
                touched.append(service)
                written = await ensure(env, service, partial(change.to_acquire, lease=lease))
            if lease.kind is not Kind.ROLLBACK:  # users who wait for a rollback are not kept waiting for a proof
                await env.cloud_run.check_conditional_writes(written)
    except (Refused, Conflict, Fenced) as refusal:
        held = await asyncio.gather(*(_let_go_untouched(env, lease, service) for service in touched))
        with_hold = await with_link(env, refusal)
        if still := [problem for problem in held if problem]:
            raise Unfinished(f"{with_hold} {' '.join(still)}") from refusal
        heartbeat_ended(env, lease)
        raise with_hold from refusal
    get_run_logger().info("release %s holds %s, epoch %d", lease.release_id, ", ".join(lease.services), lease.epoch)
    heartbeat(env, lease)


async def _let_go_untouched(env: Environment, lease: Lease, service: str) -> str:
    """The service is as it was before `acquire`. Returns what is wrong where that is not so, or an empty string."""
    problem = ""
    for _ in range(2):  # an update may be accepted and fail all the same: the second read shows whether it was
        try:
            await ensure(env, service, partial(change.to_undo_acquire, lease=lease))
        except Fenced:
            return ""  # a newer run holds it: there is nothing of ours to let go
        except ReleaseError as failed:
            problem = f"{service} still carries the lease: {failed}"
        else:
            return ""
    return problem


@step("save lease", **WRITE)
async def save_lease(env: Environment, lease: L) -> L:
    """The coordinator carries ``lease`` as it is now; no user is moved. Returns the lease."""
    await ensure(env, lease.coordinator, partial(change.to_record, lease=lease))
    return lease


@task(name="take over", task_run_name="take over", **WRITE)
async def take_over(env: Environment, wanted: L, found: Lease) -> L:
    """This run holds the release ``wanted`` in place of the process that had it, which is fenced from now on.

    A new decision is made in ``wanted`` before: a run that finds it after this one has died must know of it. ``found``
    is the lease that it was made on, as it was read.
    A service that another person changed meanwhile is left as it is; the next step finds it so and steps back. So is
    one, the coordinator aside, that cannot be written: its trouble is not the others', and each step tries it again.
    Raises: Fenced (another run took it over, or it ended meanwhile), Conflict (its process has gone on since
    ``found``; see `as_it_stands`).
    """
    lease = wanted.model_copy(update={"flow_run_id": str(runtime.flow_run.get_id())})
    async with sending_heartbeats(env, lease):
        lease = await _under_new_epoch(env, lease, found)
    get_run_logger().info("release %s is held by this run now, epoch %d", lease.release_id, lease.epoch)
    heartbeat(env, lease)
    return lease


@task(name="hand on", task_run_name="hand on {wanted.release_id}", **WRITE)
async def hand_on(env: Environment, wanted: L, found: Lease) -> L:
    """The process that had ``found`` is fenced, and no run has it yet: one that is started for it takes it over.

    The lease still names the lost run, so that the one to come finds it lost too: it has no heartbeat meanwhile. The
    epoch is new each time, so that a run which is started for an epoch and dies before it takes over is not the last
    one.
    Raises: as `take_over`.
    """
    return await _under_new_epoch(env, wanted, found)


async def _under_new_epoch(env: Environment, wanted: L, found: Lease) -> L:
    lease = wanted.model_copy(update={"epoch": next_epoch(wanted.epoch, unix_s())})
    for service in lease.services:
        try:
            step = partial(change.to_take_over, lease=lease, found=found)
            await ensure(env, service, step)
        except OutOfBandChange as out_of_band:
            get_run_logger().warning("%s", out_of_band)
        except (Refused, Conflict, Transient) as failed:
            if service == lease.coordinator:
                raise
            get_run_logger().warning("%s does not carry the new epoch: %s", service, failed)
    return lease


async def as_it_stands(env: Environment, found: Lease, act: Callable[[Lease], Awaitable[T]]) -> T | None:
    """What ``act`` makes of the release ``found``; None where it has ended.

    ``act`` decides, and takes the release over. Where its process has gone on meanwhile it is read again, and ``act``
    decides anew. Raises: Conflict (so every time), and what ``act`` raises.
    """
    for _ in range(CONFLICTS_MAX):
        try:
            return await act(found)
        except Conflict as moved:
            get_run_logger().info("decided anew: %s", moved)
            conflict, again = moved, await find_lease(env, found)
        if again is None:
            return None
        found = again
    raise conflict


@step("find lease", **READ)
async def find_lease(env: Environment, found: Lease) -> Lease | None:
    """The lease of the release ``found`` as its coordinator carries it now; None where it is over."""
    lease = Record.read(await env.cloud_run.snapshot(found.coordinator)).lease
    return lease if lease is not None and lease.release_id == found.release_id else None


@step("find own lease", **READ)
async def find_own_lease(env: Environment) -> Lease | None:
    """The lease in ``env`` that belongs to this run, or that another run holds for it while it is paused; None where
    there is none."""
    run_id = str(runtime.flow_run.get_id())
    found = await read_services(env, env.service_names)
    leases = (record.lease for record in found.records.values() if record.lease)
    return next((lease for lease in leases if run_id in lease.runs), None)


@step("release lease", **REVERT)
async def release_lease(env: Environment, lease: Lease, service: str) -> None:
    """The service carries no lease and no canary tag; a promoted one has its newest good release written down. A
    participant that was deleted carries nothing."""
    try:
        await ensure(env, service, partial(change.to_release_lease, lease=lease, now_s=unix_s()))
    except Gone:
        if service == lease.coordinator:
            raise


@step("end watch", **WRITE)
async def end_watch(env: Environment, lease: Lease, service: str) -> None:
    """The revision before the release is no longer kept alive, unless another release has come since."""
    await ensure(env, service, partial(change.to_end_watch, version=lease.version))


async def end_watches(env: Environment, lease: Lease) -> list[str]:
    """Of no service the revision before the release is kept alive any more. A sentence for each where that could not be
    written: it does not stop the others."""
    ended = await settle({service: end_watch(env, lease, service) for service in lease.services})
    return [
        f"{service} still keeps the revision before it, by tag {PREVIOUS_TAG}: {error}"
        for service, error in ended.failures.items()
    ]


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


@step("find missing", **READ)
async def find_missing(env: Environment, found: Lease) -> list[str]:
    """What the lease names that its services do not have. A service whose revisions are not shown says nothing."""
    gone = [f"{one.name} is no service of {env.name} any more" for one in taken_out(found, env.services)]
    env = env.whole(found)
    listed, failures = await settle_reads({service: env.cloud_run.revisions(service) for service in found.services})
    for service, error in failures.items():
        get_run_logger().warning("%s: its revisions could not be looked at: %s", service, error)
    lacking = (
        missing(found, env.service(service), {one.name: one.image for one in revisions})
        for service, revisions in listed.items()
    )
    return [*gone, *(problem for problems in lacking for problem in problems)]


@step("judge recovery", **READ)
async def judge_recovery(env: Environment, found: Lease, owner: Owner) -> Recovery:
    """What becomes of a release, given what became of its process, and whether what it names is there."""
    decided = recover(found, owner, unix_s())
    if decided.step in (Step.RESUME, Step.HOLD):
        decided = unless_missing(decided, found, await find_missing(env, found))
    get_run_logger().info("%s: %s, because %s", found.release_id, decided.step, decided.reason)
    return decided
