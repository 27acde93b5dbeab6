"""The clock: what time it is, and how much time has passed.

The time of day is a parameter: a test sets `CLOCK` for the code that it runs. Waiting needs none: ``asyncio.sleep``,
timeouts and `monotonic_s` all ask the running event loop, so a test that compresses time brings its own loop.
"""

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar

Clock = Callable[[], float]
"""Returns the time of day in unix seconds."""

CLOCK: ContextVar[Clock] = ContextVar("CLOCK", default=time.time)


def unix_s() -> float:
    """The time of day, in unix seconds."""
    return CLOCK.get()()


def monotonic_s() -> float:
    """The running event loop's time: seconds since an arbitrary moment, never set back. For durations."""
    return asyncio.get_running_loop().time()
