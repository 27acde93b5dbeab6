"""Pause in Prefect's UI: the process of a paused run ends, so another run holds its release until it is resumed."""

import asyncio
import contextlib
from uuid import UUID

from prefect import get_run_logger, task
from prefect.client import orchestration
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Failed

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import Transient
from playbook.lease.change import guard
from playbook.lease.lease import Decision, Lease, Pause
from playbook.lease.recovery import not_resumed
from playbook.release.outcome import FlowResult
from playbook.text import clean
from tasks.monitor import until_bad
from tasks.retries import READ, step


@step("pause of", **READ)
async def pause_of(env: Environment, lease: Lease) -> Pause:
    """Until when the paused run that holds ``lease`` may be resumed: as the person chose in the UI.

    Raises: Transient (Prefect is away).
    """
    state = await _state(lease.flow_run_id)
    until = state.state_details.pause_timeout if state is not None else None
    until_s = until.timestamp() if until is not None else unix_s() + env.policy.gate_deadline_s
    return Pause(flow_run_id=lease.flow_run_id, until_s=min(until_s, lease.deadline_s))


@task(name="hold while paused", task_run_name="hold while paused", **READ)
async def hold_while_paused(env: Environment, lease: Lease) -> str:
    """The release has waited until its pause ended otherwise than by being resumed. Returns why it is taken back.

    The canary keeps its users and is watched as in a bake: evidence against it ends the pause.
    Raises: Fenced (the run was resumed and holds the release again), OutOfBandChange.
    """
    assert lease.pause is not None
    watching: asyncio.Future[str] | None = None
    try:
        while unix_s() < lease.pause.until_s:
            if watching is None and lease.decision is not Decision.DEPLOY:
                watching = asyncio.ensure_future(_until_bad(env, lease))
            with contextlib.suppress(Transient):
                guard(await env.cloud_run.snapshot(lease.coordinator), lease)
                state = await _state(lease.pause.flow_run_id)
                if state is None or state.is_cancelled() or state.is_cancelling():
                    return "The release was cancelled while it was paused."
            if watching is not None and watching.done():
                with contextlib.suppress(Transient):
                    return watching.result()
                watching = None
            await asyncio.sleep(env.policy.tick_s)
        return not_resumed(lease.pause.until_s)
    finally:
        if watching is not None:
            watching.cancel()


async def _until_bad(env: Environment, lease: Lease) -> str:
    """As `until_bad`; a release that was paused before its bake had begun is watched from now on."""
    is_baking = lease.bake_start_s is not None
    watched = lease if is_baking else lease.baking_from(unix_s())
    return await until_bad(env, watched, watched.policy(env.policy), is_held=is_baking)


@step("say what became of it", **READ)
async def say_what_became(lease: Lease, outcome: FlowResult) -> None:
    """The page of a run that a person cancelled or paused says what recovery did with its release.

    A paused one has ended then, and can no longer be resumed. A server that is away leaves the page as it is.
    """
    run_id = lease.runs[-1]
    try:
        state = await _state(run_id)
        if state is None or not (state.is_cancelled() or state.is_paused() or "never resumed" in (state.message or "")):
            return
        did = "It was cancelled" if state.is_cancelled() else "It was paused and not resumed"
        message = clean(f"{did}. Recovery ended release {lease.release_id} as {outcome.end}: {outcome.message}")
        end: State = (
            Cancelled(message=message) if state.is_cancelled() else Failed(name=outcome.end.value, message=message)
        )
        async with orchestration.get_client() as client:
            await client.set_flow_run_state(UUID(run_id), end, force=True)
    except (Transient, *PREFECT_AWAY) as away:
        get_run_logger().warning("flow run %s does not say what became of it: %s", run_id, away)


async def _state(flow_run_id: str) -> State | None:
    """The state of a run; None where Prefect does not know it. Raises: Transient (Prefect is away)."""
    try:
        async with orchestration.get_client() as client:
            return (await client.read_flow_run(UUID(flow_run_id))).state
    except ObjectNotFound:
        return None
    except PREFECT_AWAY as away:
        raise Transient(f"Prefect, asked for flow run {flow_run_id}, is away: {away}") from away
