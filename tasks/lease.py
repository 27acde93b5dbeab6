"""Acquiring, saving and releasing the lease, which lets one release at a time hold a service."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from prefect import get_run_logger, runtime, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.errors import Conflict, Fenced, Gone, OutOfBandChange, Refused, ReleaseError, Transient, Unfinished
from playbook.lease import change
from playbook.lease.build import Holder
from playbook.lease.lease import Kind, Lease, next_epoch
from playbook.lease.record import Record
from playbook.release.traffic import PREVIOUS_TAG
from tasks.each_service import read_services, settle
from tasks.ensure import CONFLICTS_MAX, ensure
from tasks.heartbeat import heartbeat, heartbeat_ended, sending_heartbeats
from tasks.look import with_link
from tasks.retries import READ, REVERT, WRITE, is_last_try, step

T = TypeVar("T")
L = TypeVar("L", bound=Lease)


def holder(env: Environment, requested_at_s: float | None = None) -> Holder:
    """This run, as a lease names it."""
    now_s = unix_s()
    return Holder(
        flow_run_id=str(runtime.flow_run.get_id()),
        now_s=now_s,
        deadline_s=now_s + env.policy.claim_deadline_s,
        place=env.gcloud_flags,
        requested_at_s=requested_at_s,
    )


@task(name="acquire", task_run_name="acquire the lease in {env.name}", **WRITE)
async def acquire(env: Environment, lease: Lease) -> None:
    """This run holds the services of ``lease``, whatever its kind, the coordinator first.

    The heartbeat runs from before the first write: a write may be served minutes after it was accepted. Where one
    service cannot be had, every service that was touched is let go again, also the one whose write failed: Cloud Run
    may have accepted it.
    Raises: Held (another release has a service; its run is named), Conflict (traffic changed since the plan), Fenced (a
    newer epoch holds it), Refused (also where Cloud Run does not enforce conditional writes here, or takes no write for
    all tries).
    """
    touched: list[str] = []
    try:
        async with sending_heartbeats(env, lease):
            for service in change.acquired_first(lease):
                touched.append(service)
                written = await ensure(env, service, partial(change.to_acquire, lease=lease))
            if lease.kind is not Kind.ROLLBACK:  # users who wait for a rollback are not kept waiting for a proof
                await env.cloud_run.check_conditional_writes(written)
    except (Refused, Conflict, Fenced, Transient) as error:
        refusal = error
        if isinstance(error, Transient):
            if not is_last_try(REVERT if lease.kind is Kind.ROLLBACK else WRITE):
                raise
            refusal = Refused(f"{error} It was asked again for all the time that this may take.")
        held = await asyncio.gather(*(_let_go_untouched(env, lease, service) for service in touched))
        with_hold = await with_link(env, refusal, lease.services)
        if still := [problem for problem in held if problem]:
            raise Unfinished(f"{with_hold} {' '.join(still)}") from error
        heartbeat_ended(env, lease)
        raise with_hold from error
    except OutOfBandChange as moved:  # of a rollback, which is on its coordinator: its next step takes the others back
        get_run_logger().warning("%s", moved)
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
