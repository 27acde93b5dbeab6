"""An event loop with virtual time: when no task is ready, its time jumps to the next timer.

A bake of fifteen minutes takes as long as its computation. The loop has no sockets and no threads: nothing in it can
reach the outside, and the same program takes the same steps every time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

THURSDAY_14_00_UTC = 1_763_647_200.0


LONGEST_S = 48 * 3600.0


class NothingLeftError(Exception):
    """All tasks wait and there is no timer, or two virtual days have passed."""


class _Idle:
    """The loop's selector: instead of waiting, it moves time forward."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self.now_s = THURSDAY_14_00_UTC

    def select(self, timeout_s: float | None) -> list[Any]:
        if timeout_s is None:
            raise NothingLeftError("all tasks wait, and there is no timer")
        if timeout_s > 0:
            self.now_s = max(self.now_s, self._loop.next_timer_s())
        if self.now_s > THURSDAY_14_00_UTC + LONGEST_S:
            raise NothingLeftError("two virtual days have passed, and the work has not ended")
        return []

    def close(self) -> None:
        """Do nothing."""


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop of this module. ``time()`` is in unix seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Idle(self)
        # A float holds unix seconds to a quarter of a microsecond; timers are due within that.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._selector.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Run ``func`` at once, in this thread: our code uses threads only to read files."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is raised in the caller
            done.set_exception(error)
        return done

    def next_timer_s(self) -> float:
        """When the next timer is due, in unix seconds."""
        return float(self._scheduled[0].when())

    def _process_events(self, events: list[Any]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """No other thread wakes this loop."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` in a new loop and return its result. Tasks that it left behind are cancelled."""
    loop = VirtualLoop()
    try:
        try:
            return loop.run_until_complete(work)
        finally:
            _end_all(loop)
    finally:
        loop.close()


def _end_all(loop: VirtualLoop) -> None:
    while left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
