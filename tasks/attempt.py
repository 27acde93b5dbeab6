"""Whether a run begins, goes on after a pause, or was asked to run again after it had ended."""

from enum import StrEnum

from prefect.client import orchestration
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from playbook.errors import Refused

RESUMING = "Resuming"
"""Prefect's name for the state of a run that a person resumes after Suspend."""


class Attempt(StrEnum):
    """Why this process runs the flow."""

    FIRST = "first"
    RESUMED = "resumed"
    RETRIED = "retried"


async def attempt() -> Attempt:
    """Why this process runs. One call to Prefect; none in a run without a deployment, which cannot run again.

    Prefect's own count of runs does not tell: it stays as it is when a run is resumed.
    """
    return of_states(await _states())


async def check_not_ended() -> None:
    """This run has not ended before: Retry in the UI does not start it a second time. Raises: Refused."""
    states = await _states()
    if of_states(states) is not Attempt.RETRIED:
        return
    ended = [state for state in states if state.is_final()]
    how = f" as {ended[-1].name}" if ended else ""
    raise Refused(f"This run has ended already{how}, and a run is not retried. Start a new one.")


def of_states(states: list[State]) -> Attempt:
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


async def _states() -> list[State]:
    """The states of this run, oldest first."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return []
    async with orchestration.get_client() as client:
        return sorted(await client.read_flow_run_states(context.flow_run.id), key=lambda state: state.timestamp)
