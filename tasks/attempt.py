"""Whether a run begins, goes on after a pause, or was asked to run again after it had ended."""

from collections.abc import Sequence
from contextvars import ContextVar
from enum import StrEnum

from prefect.client import orchestration
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from playbook.errors import Refused

SO = " It ended so: "
RESUMING = "Resuming"
"""Prefect's name for the state of a run that a person resumes after Suspend."""


class Attempt(StrEnum):
    """Why this process runs the flow."""

    FIRST = "first"
    RESUMED = "resumed"
    RETRIED = "retried"


async def attempt() -> Attempt:
    """Why this process runs. One call to Prefect at most; none without a deployment: such a run cannot run again.

    Prefect's own count of runs does not tell: it stays as it is when a run is resumed.
    """
    return of_states(await _states())


async def ended_before() -> State | None:
    """How this run has ended before, where Retry in the UI has started it once more; None where it has not."""
    states = await _states()
    if of_states(states) is not Attempt.RETRIED:
        return None
    return [state for state in states if state.is_final()][-1]


def not_retried(ended: State) -> Refused:
    """Why a run that has ended so does not run again; how it ended stays readable."""
    _, _, why = (ended.message or "").rpartition(SO)
    return Refused(
        f"This run has ended already as {ended.name}, and a run is not retried. Start a new one."
        + (f"{SO}{why}" if why else "")
    )


def of_states(states: Sequence[State]) -> Attempt:
    """Why a run with these states (oldest first) runs now: what it was last scheduled for."""
    scheduled = [state for state in states if state.type is StateType.SCHEDULED]
    if scheduled and scheduled[-1].name == RESUMING:
        return Attempt.RESUMED
    return Attempt.RETRIED if any(state.is_final() for state in states) else Attempt.FIRST


def check_not_paused() -> None:
    """No person has paused this run in the UI. A long step calls this itself, since Prefect looks only between steps.

    Raises: Prefect's Pause, which ends the process.
    """
    if context := FlowRunContext.get():
        context.flow_run_suspension_request.raise_if_requested()


_READ: ContextVar[tuple[FlowRunContext, tuple[State, ...]] | None] = ContextVar("states", default=None)


async def _states() -> tuple[State, ...]:
    """The states of this run, oldest first, as they were when it was first asked here."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return ()
    read = _READ.get()
    if read is None or read[0] is not context:
        async with orchestration.get_client() as client:
            found = await client.read_flow_run_states(context.flow_run.id)
        read = (context, tuple(sorted(found, key=lambda state: state.timestamp)))
        _READ.set(read)
    return read[1]
