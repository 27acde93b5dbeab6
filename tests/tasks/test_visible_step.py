"""The graph of a run: its steps in time, without lines between them."""

from prefect.context import FlowRunContext
from prefect.states import Completed
from prefect.utilities.engine import get_state_for_result, link_state_to_task_run_result

from tasks.visible_step import draw_no_lines


def test_no_result_is_linked_to_a_later_step() -> None:
    """What one step returns and another takes draws no line, nor does an address in memory that is used again."""
    lease = {"version": "v20251116-abc123"}
    with FlowRunContext.model_construct(run_results={}):
        link_state_to_task_run_result(Completed(), lease)
        assert get_state_for_result(lease) is not None
        draw_no_lines()
        link_state_to_task_run_result(Completed(), lease)
        assert get_state_for_result(lease) is None


def test_outside_of_a_run_there_is_nothing_to_do() -> None:
    """In a shell or a test."""
    draw_no_lines()
