"""How often a step asks again. Only Transient is asked again; a refusal stays one, however often it is repeated.

READ    seconds: a look that fails is soon repeated
WRITE   minutes: an unknown outcome is found out by reading first, so repeating is safe
REVERT  the most patient of all: production waits for it
NOTIFY  seconds: people are told side by side while a release waits
TELL    bounded: what could not be said now is said later by a run of its own
LATER   that run's patience: half an hour
"""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack

from prefect import Task, get_run_logger, runtime
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun

from playbook.errors import NoData, Refused, Transient

P = ParamSpec("P")
T = TypeVar("T")

NO_TELEMETRY = (Transient, NoData, Refused)
"""A provider that is away, empty or will not answer is not a bad canary: a bake goes on, and says what it lacks."""


class Options(TypedDict):
    """The part of Prefect's task options that differs from step to step."""

    retries: int
    retry_delay_seconds: list[float]
    retry_jitter_factor: float
    retry_condition_fn: Any
    cache_policy: CachePolicy


async def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether the step failed because the other side was away, slow or busy."""
    return isinstance(state.data, Transient)


_TRY: ContextVar[int] = ContextVar("try", default=0)
"""Which try of a `step` runs now, from 1 on; 0 outside of one."""


def is_last_try(options: Options) -> bool:
    """Whether the step that runs now will not be asked again: what is still wrong then is the answer."""
    return int(_TRY.get() or runtime.task_run.run_count or 1) > options["retries"]


def step(name: str, **options: Unpack[Options]) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, Awaitable[T]]]:
    """Ask again as a Prefect task with these options would, without being one: no node of the run's graph.

    For looks and bookkeeping. ``name`` stands in the log where it is asked again. Only Transient is asked
    again; the last one is raised.
    """

    def decorated(work: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @functools.wraps(work)
        async def tried(*args: P.args, **kwargs: P.kwargs) -> T:
            for number, delay_s in enumerate([*options["retry_delay_seconds"], None], 1):
                token = _TRY.set(number)
                try:
                    return await work(*args, **kwargs)
                except Transient as away:
                    if delay_s is None:
                        raise
                    get_run_logger().warning("%s: %s Try %d follows.", name, away, number + 1)
                finally:
                    _TRY.reset(token)
                await asyncio.sleep(delay_s * random.uniform(1, 1 + options["retry_jitter_factor"]))  # noqa: S311
            raise AssertionError("the last try returns or raises")

        return tried

    return decorated


def _options(*delays_s: float) -> Options:
    return Options(
        retries=len(delays_s),
        retry_delay_seconds=list(delays_s),
        retry_jitter_factor=0.3,
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
    )


READ = _options(0.5, 1, 2, 4, 8)
WRITE = _options(0.5, 1, 2, 5, 10, 20, 30, 60)
REVERT = _options(0.2, 0.5, 1, 2, 5, *([10.0] * 45))
NOTIFY = _options(0.5, 1)
TELL = _options(0.5, 2, 5)
LATER = _options(1, 2, 5, 10, *([30.0] * 10), *([60.0] * 25))
