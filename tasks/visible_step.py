"""What a run's graph shows: named steps, each with its environment, and red where one went badly.

Reads and bookkeeping are `tasks.retries.step`: they are retried in the same way and are no nodes of the graph.
Nested flows are not used for this (docs/adr/0013).
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Failed

from playbook.text import clean

T = TypeVar("T")


def problem(found: str | None) -> str:
    """Why a step is red: ``found``, or nothing where it is None."""
    return found or ""


class _Unlinked(dict[int, Any]):
    """Keeps nothing."""

    def __setitem__(self, key: int, value: Any) -> None:
        """Nothing is kept."""


def draw_no_lines() -> None:
    """The graph of this run shows its steps in time, without a line from each result to every later step that reads it.

    Prefect finds such a line by the address of the result in memory (``link_state_to_result``, 3.9.1). Everything here
    reads the lease, and an address is used again, so the lines crossed out the names and some were false.
    """
    context = FlowRunContext.get()
    if context is not None:
        context.run_results = _Unlinked()


async def visible_step(title: str, work: Callable[[], Awaitable[T]], bad: Callable[[T], str] | None = None) -> T:
    """The result of ``work``, shown as one step called ``title``.

    ``bad``: the reason for which the step is red although it returned. What ``work`` raises is raised, and is red, too.
    """
    results: list[T] = []

    async def run() -> str:
        results.append(await work())
        return bad(results[0]) if bad is not None else ""

    await _shown(title, run)
    return results[0]


@task(name="step", task_run_name="{title}", cache_policy=NO_CACHE)
async def _shown(title: str, run: Callable[[], Awaitable[str]]) -> State[Any] | None:
    reason = await run()
    return Failed(message=clean(reason)) if reason else None
