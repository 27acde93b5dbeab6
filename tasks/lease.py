"""Taking, changing and letting go of the claim that makes a release the only one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from prefect import get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Conflict, Fenced, Held, OutOfBandChange, Refused, ReleaseError, Transient
from playbook.lease import change
from playbook.lease.lease import Lease, Record, next_epoch
from playbook.lease.recovery import Owner, Recovery, recover
from playbook.release.plan import Order, build_release_lease, is_live, plan, release_id, version_due
from playbook.release.request import HotfixRequest
from playbook.release.traffic import ServiceSnapshot
from tasks.ensure import CONFLICTS_MAX, ensure
from tasks.heartbeat import heartbeat, sending_heartbeats
from tasks.incident import run_url
from tasks.retries import READ, REVERT, WRITE

T = TypeVar("T")


def place_of(env: Environment) -> str:
    """gcloud's flags for where the services of ``env`` are."""
    return f"--project={env.cloud_run.project} --region={env.cloud_run.region}"


@task(name="look", task_run_name="look", **READ)
async def look(env: Environment, services: tuple[str, ...]) -> dict[str, ServiceSnapshot]:
    """One fresh read of each service. Raises Transient while one is still reconciling."""
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in services))
    unsettled = [snapshot.service for snapshot in reads if snapshot.is_reconciling]
    if unsettled:
        raise Transient(f"{', '.join(unsettled)}: still reconciling an earlier change.")
    return {snapshot.service: snapshot for snapshot in reads}


@task(name="already live", task_run_name="already live", **READ)
async def already_live(env: Environment, order: Order, found: dict[str, ServiceSnapshot]) -> bool:
    """Whether every service of the order already gives all users exactly its image."""
    serving = {name: snapshot.pinned.main for name, snapshot in found.items()}
    revisions = await asyncio.gather(*(env.cloud_run.revision(name, main) for name, main in serving.items()))
    return is_live(order, found, {name: revision.image for name, revision in zip(serving, revisions, strict=True)})


@task(name="check free", task_run_name="check free", **READ)
async def check_free(env: Environment, order: Order) -> None:
    """No release holds a service of the order: nothing else is begun for one that would be refused in the end.

    Raises: Held.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in order.images))
    for snapshot in reads:
        try:
            change.check_not_held(snapshot, str(order.version))
        except Held as held:
            raise await with_link(env, held) from held


async def with_link(env: Environment, refusal: ReleaseError) -> ReleaseError:
    """``refusal``; one by a release that holds a service says where its run is seen, whichever service it was."""
    if not isinstance(refusal, Held):
        return refusal
    try:
        snapshots = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in env.service_names))
    except ReleaseError as away:
        get_run_logger().warning("no link to the run that holds it: %s", away)
        return refusal
    leases = filter(None, (Record.read(snapshot).lease for snapshot in snapshots))
    links = (run_url(env, lease) for lease in leases if lease.release_id == refusal.holder)
    return Held(" ".join([str(refusal), *links]), is_same=refusal.is_same, holder=refusal.holder)


@task(name="version in staging", task_run_name="version in staging", **READ)
async def version_in_staging(env: Environment, staging: Environment | None) -> str:
    """The version that passed staging last and that ``env`` has not had; empty where there is none."""
    if staging is None:
        return ""
    coordinator = env.service_names[0]
    passed = Record.read(await staging.cloud_run.snapshot(coordinator))
    return version_due(passed, Record.read(await env.cloud_run.snapshot(coordinator)))


@task(name="claim", task_run_name="claim", **WRITE)
async def acquire_lease(
    env: Environment,
    order: Order,
    found: dict[str, ServiceSnapshot],
    hotfix: HotfixRequest | None = None,
    requested_at_s: float | None = None,
) -> Lease:
    """This run holds every service of the order, the lead first.

    What was taken is let go again where one of them cannot be had. Raises: Held (another release has it, whose run is
    named), Conflict (it changed between the look and the claim), Fenced (a newer epoch is written there).
    """
    run_id = str(runtime.flow_run.get_id())
    epochs = [Record.read(snapshot).epoch for snapshot in found.values()]
    now_s = unix_s()
    lease = build_release_lease(
        plan(order, found.values(), release_id(order.version, run_id)),
        flow_run_id=run_id,
        epoch=next_epoch(max(epochs), now_s),
        deadline_s=now_s + env.policy.claim_deadline_s,
        place=place_of(env),
    ).model_copy(update={"hotfix": hotfix, "requested_at_s": requested_at_s})
    taken: list[str] = []
    try:
        async with sending_heartbeats(env, lease):
            for service in lease.services:
                await ensure(env, service, partial(change.to_acquire, lease=lease))
                taken.append(service)
    except (Refused, Conflict, Fenced) as refusal:
        for service in reversed(taken):
            with contextlib.suppress(Fenced):  # somebody has it already: there is nothing to let go
                await ensure(env, service, partial(change.to_release_lease, lease=lease, now_s=now_s))
        raise await with_link(env, refusal) from refusal
    get_run_logger().info("release %s holds %s, epoch %d", lease.release_id, ", ".join(lease.services), lease.epoch)
    heartbeat(env, lease)
    return lease


@task(name="note on lead", task_run_name="note on lead", **WRITE)
async def update_coordinator(env: Environment, lease: Lease) -> Lease:
    """The lead carries ``lease`` as it is now, with its traffic where the bake has it. Returns the claim."""
    await ensure(env, lease.coordinator, partial(change.to_bake, lease=lease))
    return lease


@task(name="take over", task_run_name="take over", **WRITE)
async def take_over(env: Environment, wanted: Lease, found: Lease) -> Lease:
    """This run holds the release ``wanted`` in place of the process that had it, which is fenced from now on.

    A new decision is made in ``wanted`` before: whoever finds it after this run has died must know of it. ``found`` is
    the claim that it was made on, as it was read.
    A service that somebody changed by hand meanwhile is left as it is; the next step finds it so and steps back.
    Raises: Fenced (somebody else took it over, or it ended meanwhile), Conflict (its process has gone on since
    ``found``; see `as_it_stands`).
    """
    lease = wanted.model_copy(update={"flow_run_id": str(runtime.flow_run.get_id())})
    async with sending_heartbeats(env, lease):
        lease = await _under_new_epoch(env, lease, found)
    get_run_logger().info("release %s is held by this run now, epoch %d", lease.release_id, lease.epoch)
    heartbeat(env, lease)
    return lease


@task(name="hand on", task_run_name="hand on {wanted.release_id}", **WRITE)
async def hand_on(env: Environment, wanted: Lease, found: Lease) -> Lease:
    """The process that had ``found`` is fenced, and nobody has it yet: a run that is started for it takes it over.

    The claim still names the lost run, so that the one to come finds it lost too: nobody beats for it meanwhile. The
    epoch is new each time, so that a run which is started for an epoch and dies before it takes over is not the last
    one.
    Raises: as `take_over`.
    """
    return await _under_new_epoch(env, wanted, found)


async def _under_new_epoch(env: Environment, wanted: Lease, found: Lease) -> Lease:
    lease = wanted.model_copy(update={"epoch": next_epoch(wanted.epoch, unix_s())})
    for service in lease.services:
        try:
            step = partial(change.to_take_over, lease=lease, found=found)
            await ensure(env, service, step)
        except OutOfBandChange as out_of_band:
            get_run_logger().warning("%s", out_of_band)
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


@task(name="find claim", task_run_name="find claim {found.release_id}", **READ)
async def find_lease(env: Environment, found: Lease) -> Lease | None:
    """The claim of the release ``found`` as its lead carries it now; None where it is over."""
    lease = Record.read(await env.cloud_run.snapshot(found.coordinator)).lease
    return lease if lease is not None and lease.release_id == found.release_id else None


@task(name="release claim", task_run_name="release claim {service}", **REVERT)
async def release_lease(env: Environment, lease: Lease, service: str) -> None:
    """The service carries no claim and no canary tag; a promoted one has its newest good release written down."""
    await ensure(env, service, partial(change.to_release_lease, lease=lease, now_s=unix_s()))


@task(name="end watch", task_run_name="end watch {service}", **WRITE)
async def end_watch(env: Environment, lease: Lease, service: str) -> None:
    """The revision before the release is no longer kept alive, unless another release has come since."""
    await ensure(env, service, partial(change.to_end_watch, version=lease.version))


@task(name="find claims", task_run_name="find claims", **READ)
async def find_leases(env: Environment) -> tuple[tuple[Lease, ...], tuple[str, ...]]:
    """Every release that holds services of the environment, and the services that point to a lead that holds none."""
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in env.service_names))
    records = {snapshot.service: Record.read(snapshot) for snapshot in reads}
    leases = {record.lease.release_id: record.lease for record in records.values() if record.lease}
    orphans = [
        name for name, record in records.items() if record.participant and record.participant.release_id not in leases
    ]
    return tuple(leases.values()), tuple(orphans)


@task(name="free orphan", task_run_name="free orphan {service}", **REVERT)
async def free_orphan(env: Environment, service: str) -> None:
    """The service is back on what it was before a release whose claim is gone from its lead.

    The lead is read after the member: a release claims its lead first and lets go of it last, so one that is not there
    then is over, and does not come back.
    """
    participant = Record.read(await env.cloud_run.snapshot(service)).participant
    if (
        participant is None
        or Record.read(await env.cloud_run.snapshot(participant.coordinator)).holder == participant.release_id
    ):
        return
    await ensure(env, service, partial(change.to_free_orphan, release_id=participant.release_id))


@task(name="judge recovery", task_run_name="judge recovery of {found.release_id}", **READ)
async def judge_recovery(found: Lease, owner: Owner) -> Recovery:
    """What becomes of a release, given what became of its process."""
    decided = recover(found, owner, unix_s())
    get_run_logger().info("%s: %s, because %s", found.release_id, decided.step, decided.reason)
    return decided
