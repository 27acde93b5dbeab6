"""Heartbeats: events that a run sends while it holds a lease, and what they say of the run of a lease that was found.

A run whose heartbeats stop counts as silent, whatever became of its process or its host.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

from prefect import events, get_run_logger, runtime, task
from prefect.client import orchestration
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter, EventOrder, EventResourceFilter
from prefect.exceptions import ObjectNotFound, Pause
from prefect.states import Crashed

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import BadRequest, Transient
from playbook.lease.lease import Kind, Lease, MigrationLease
from playbook.lease.origin import FLOWS, NamedRun, not_its_run
from playbook.lease.recovery import Owner
from playbook.release.outcome import ReleaseOutcome
from playbook.text import clean
from tasks import status
from tasks.retries import READ, step
from tasks.start import start

HEARTBEAT, ENDED, PAUSED = "release.beat", "release.ended", "release.paused"
HEARTBEATS_MISSED = 3
"""After so many missing heartbeats in a row a run is silent. The automation in prefect.yaml waits as long."""

LEASE_RELEASED = frozenset(
    end.value
    for end in (
        ReleaseOutcome.PROMOTED,
        ReleaseOutcome.ROLLED_BACK,
        ReleaseOutcome.REVERTED,
        ReleaseOutcome.INTERRUPTED,
    )
)
"""A run ends in these states only after its lease was released: a lease that still names it is an older record."""

RESOURCE_MAX = 255
"""Characters of a resource's id: one that cannot be stored would lose every event that is sent with it."""


def resource(environment: str, release_id: str) -> str:
    """What a release is called in Prefect's events."""
    return clean(f"release.{environment}.{release_id}", RESOURCE_MAX)


def heartbeat(env: Environment, lease: Lease) -> None:
    """Send one heartbeat. Acquiring a lease begins and ends with one, so that a silence is noticed."""
    events.emit_event(HEARTBEAT, resource={"prefect.resource.id": resource(env.name, lease.release_id)})


async def heartbeat_paused(env: Environment, lease: Lease) -> None:
    """A person paused the run in the UI, so its process ends: a recovery is started, which holds the release. Should
    that fail, the silence starts one."""
    events.emit_event(PAUSED, resource={"prefect.resource.id": resource(env.name, lease.release_id)})
    deployment = f"recovery/{env.name}"
    with contextlib.suppress(Transient):
        await start.fn(deployment, {"environment": env.name}, f"paused/{lease.release_id}/{lease.epoch}")


def heartbeat_ended(env: Environment, lease: Lease) -> None:
    """Say that the run is done with its lease: the silence that follows starts no recovery."""
    events.emit_event(ENDED, resource={"prefect.resource.id": resource(env.name, lease.release_id)})


@contextlib.asynccontextmanager
async def with_heartbeat(env: Environment, lease: Lease) -> AsyncIterator[None]:
    """Send a heartbeat every ``beat_s`` seconds while the block runs, and `ENDED` when the block ends without an error.
    Everything that is done under a lease is done in here, so that a vendor that hangs is no silence.

    After an error, a cancellation or a kill `ENDED` is not sent: the silence starts a recovery.
    """
    try:
        async with sending_heartbeats(env, lease):
            status.holds(env)
            yield
            heartbeat_ended(env, lease)
    except Pause:
        await heartbeat_paused(env, lease)
        raise


@contextlib.asynccontextmanager
async def sending_heartbeats(env: Environment, lease: Lease) -> AsyncIterator[None]:
    """Send a heartbeat at once, and every ``beat_s`` seconds while the block runs.

    Leases are written in here: a lease is on its service at once, and the write may take minutes to be served.
    """

    async def send_all() -> None:
        while True:
            await asyncio.sleep(env.policy.beat_s)
            heartbeat(env, lease)

    heartbeat(env, lease)
    heartbeats = asyncio.create_task(send_all())
    try:
        yield
    finally:
        heartbeats.cancel()


@task(name="mark lost", task_run_name="mark {found.flow_run_id} lost", **READ)
async def mark_lost(found: Lease, successor: Lease) -> None:
    """The run whose heartbeats stopped no longer looks as if it ran. If it lives after all, its next write fences it.

    A server that is away leaves it as it looks: what matters is the lease.
    """
    message = clean(
        f"This run sent no more heartbeats; release {found.release_id} continues in flow run {successor.flow_run_id}."
    )
    try:
        async with orchestration.get_client() as client:
            await client.set_flow_run_state(UUID(found.flow_run_id), Crashed(message=message), force=True)
    except PREFECT_AWAY as away:
        get_run_logger().warning("flow run %s still looks as if it ran: %s", found.flow_run_id, away)


@step("owner", **READ)
async def owner_of(env: Environment, lease: Lease) -> Owner:
    """What became of the process that holds ``lease``: by its run's state, and by its heartbeat where that runs.

    A run that Prefect has forgotten is one that is lost; one that it knows must be one that could hold the lease.
    Raises: Transient (Prefect is away).
    """
    try:
        async with orchestration.get_client() as client:
            run = await client.read_flow_run(UUID(lease.flow_run_id))
            if odd := not_its_run(lease, *await _named_run(client, env, run)):
                get_run_logger().error("%s", odd)
                return Owner.FOREIGN
            state = run.state
            if state is not None and state.is_final() and state.name in LEASE_RELEASED:
                return Owner.DONE
            if state is None or (state.is_final() and not state.is_cancelled()):
                return Owner.ENDED
            if state.is_cancelled() or state.is_cancelling():
                return Owner.CANCELLED
            last = await _last_heartbeat(client, env, lease)
            if state.is_paused() and last != HEARTBEAT:
                return Owner.PAUSED
            # Prefect stores an event seconds after it was sent, so a young lease may not have been heard yet. A
            # migration rollback's may have been handed on by a recovery, to a run that has yet to begin.
            is_young = not isinstance(lease, MigrationLease) and unix_s() < lease.epoch + _silence_s(env)
            return Owner.ALIVE if last == HEARTBEAT or is_young else Owner.SILENT
    except ObjectNotFound:
        return Owner.ENDED
    except PREFECT_AWAY as away:
        raise Transient(f"Prefect, asked for flow run {lease.flow_run_id}, is away: {away}") from away


async def goes_as_this(lease: Lease) -> bool:
    """Whether the run that holds ``lease`` was started for the same environment as this run. Taken to be so where
    Prefect does not know them, or is away."""
    try:
        async with orchestration.get_client() as client:
            theirs, own = [
                await _started_for(client, await client.read_flow_run(UUID(run_id)))
                for run_id in (lease.flow_run_id, str(runtime.flow_run.get_id()))
            ]
    except (ObjectNotFound, ValueError, *PREFECT_AWAY):
        return True
    return theirs == own


async def runs_as(lease: Lease) -> Kind:
    """What the run that holds ``lease`` was started as: a hotfix passes staging by the lease of a release, and takes
    back the one that gives way by its own. The lease's kind where Prefect does not know the run, or is away."""
    try:
        async with orchestration.get_client() as client:
            run = await client.read_flow_run(UUID(lease.flow_run_id))
            flow = (await client.read_flow(run.flow_id)).name
    except (ObjectNotFound, *PREFECT_AWAY):
        return lease.kind
    return next((kind for kind, name in FLOWS.items() if name == flow), lease.kind)


async def _started_for(client: orchestration.PrefectClient, run: FlowRun) -> str:
    """The environment that the run's deployment is named after; empty where it has none, or that is gone."""
    if run.deployment_id is not None:
        with contextlib.suppress(ObjectNotFound):
            return (await client.read_deployment(run.deployment_id)).name
    return ""


async def _named_run(
    client: orchestration.PrefectClient, env: Environment, run: FlowRun
) -> tuple[NamedRun, tuple[str, ...]]:
    """The run as Prefect knows it, and the environments whose deployments act on ``env``: a release to production
    passes staging."""
    flow = (await client.read_flow(run.flow_id)).name
    where = await _started_for(client, run)
    named = NamedRun(run_id=str(run.id), flow=flow, environment=where)
    if where in ("", env.name):
        return named, (env.name,)
    try:
        passes_here = (await Environment.open(where)).staging == env.name
    except BadRequest:
        passes_here = False
    return named, (env.name, where) if passes_here else (env.name,)


async def _last_heartbeat(client: orchestration.PrefectClient, env: Environment, lease: Lease) -> str:
    """The name of the newest event of the release, `HEARTBEAT` or `PAUSED`; empty where it is silent."""
    since = datetime.fromtimestamp(unix_s() - _silence_s(env), UTC)
    signs = EventFilter(
        occurred=EventOccurredFilter(since=since),
        event=EventNameFilter(name=[HEARTBEAT, PAUSED]),
        resource=EventResourceFilter(id=[resource(env.name, lease.release_id)]),
        order=EventOrder.DESC,
    )
    answer = await client.request("POST", "/events/filter", json={"filter": signs.model_dump(mode="json"), "limit": 1})
    found = answer.json()["events"]
    return str(found[0]["event"]) if found else ""


def _silence_s(env: Environment) -> float:
    """Seconds without a heartbeat after which a process counts as lost."""
    return HEARTBEATS_MISSED * env.policy.beat_s
