"""An event loop whose time jumps to the next timer when nobody has anything to do.

A bake of fifteen minutes takes as long as its computation. The loop has no sockets and no threads: nothing that runs
in it can reach anything outside, and the same program takes the same steps every time.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

THURSDAY_14_00_UTC = 1_763_647_200.0


LONGEST_S = 48 * 3600.0


class NothingLeftError(Exception):
    """Everybody waits, and there is no timer that would wake anybody; or two days have passed so."""


class _Idle:
    """What the loop asks when it has nothing to do: instead of sleeping, time passes."""

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self.now_s = THURSDAY_14_00_UTC

    def select(self, timeout_s: float | None) -> list[Any]:
        if timeout_s is None:
            raise NothingLeftError("everybody waits for something that will never come")
        if timeout_s > 0:
            self.now_s = max(self.now_s, self._loop.next_timer_s())
        if self.now_s > THURSDAY_14_00_UTC + LONGEST_S:
            raise NothingLeftError("two days have passed, and nobody has come to an end")
        return []

    def close(self) -> None:
        """Nothing is held."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. ``time()`` is in unix seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _Idle(self)
        # Unix seconds have a quarter of a microsecond of room in a float: a timer is due within that.
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._selector.now_s

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """What would run in a thread runs here and now: our own code reads files so, and nothing else."""
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is the caller's, and reaches it
            done.set_exception(error)
        return done

    def next_timer_s(self) -> float:
        """When the next timer is due, in unix seconds."""
        return float(self._scheduled[0].when())

    def _process_events(self, events: list[Any]) -> None:
        """There are no sockets, so there is never one that is ready."""

    def _write_to_self(self) -> None:
        """Nobody else's thread ever wakes this loop."""


def run(work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns, run in a loop of its own, with everything it left behind ended."""
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
