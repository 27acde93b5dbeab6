"""How often a step asks again. Only Transient is asked again; a refusal stays one, however often it is repeated.

READ    seconds: a look that fails is soon repeated
WRITE   minutes: an unknown outcome is found out by reading first, so repeating is safe
REVERT  the most patient of all: production waits for it
NOTIFY  seconds: people are told side by side while a release waits
TELL    bounded: what could not be said now is said later by a run of its own
LATER   that run's patience: half an hour
"""

from typing import Any, TypedDict

from prefect import Task, runtime
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State, TaskRun

from playbook.errors import NoData, Refused, Transient

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


def is_last_try(options: Options) -> bool:
    """Whether the step that runs now will not be asked again: what is still wrong then is the answer."""
    return int(runtime.task_run.run_count or 1) > options["retries"]


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
