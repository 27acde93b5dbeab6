"""One play, many cases: at each call a copy of this process goes on with a disturbance.

Everything before the call is the same in every case, so the copies share it. ``os.fork`` is enough for that: a loop
with virtual time has no sockets and no threads.
"""

import asyncio
import gc
import os
import pickle
import select
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from faults import Fault
from wire import Call, Moment, Process


class Disturbance(NamedTuple):
    """What happens at one call. ``order`` has its effect on the test environment, and says what becomes of the call."""

    name: str
    order: Callable[[Process, Call], Moment | Fault | None]


class Forks:
    """Forks at each call for each of its ``disturbances``. At most ``jobs`` copies run at the same time."""

    def __init__(self, disturbances: Callable[[Process, Call], Iterable[Disturbance]], jobs: int = 1) -> None:
        self.taken: tuple[Process, Call, str] | None = None
        """in a copy: where it left the first process, and with which disturbance"""
        self._disturbances, self._jobs = disturbances, jobs
        self._running: dict[int, int] = {}
        self._results: list[Any] = []

    def ask(self, process: Process, call: Call) -> Moment | Fault | None:
        """What becomes of this call; returns once in this process, and once in each copy."""
        for disturbance in () if self.taken else self._disturbances(process, call):
            if self._is_copy():
                self.taken = process, call, disturbance.name
                return disturbance.order(process, call)
        return None

    def results(self, played: Callable[[], Any]) -> Iterator[Any]:
        """Call ``played``, and return what it returns in each copy, in the order in which they end.

        Raises RuntimeError for a copy in which it raises; its traceback is on standard error.
        """
        gc.collect()
        gc.freeze()  # a copy shares what it does not touch, and the collector touches everything
        try:
            result = played()
            if self.taken:
                with os.fdopen(self._writer, "wb") as pipe:
                    pickle.dump(result, pipe)
        except BaseException:
            if not self.taken:
                raise
            traceback.print_exc()
            os._exit(1)
        if self.taken:
            os._exit(0)
        while self._running:
            self._collect()
        yield from self._results

    def _is_copy(self) -> bool:
        while len(self._running) >= self._jobs:
            self._collect()
        loop = asyncio.get_running_loop()
        reader, self._writer = os.pipe()
        if pid := os.fork():
            os.close(self._writer)
            self._running[reader] = pid
            return False
        asyncio._set_running_loop(loop)  # asyncio takes a loop of another process for none
        gc.disable()
        return True

    def _collect(self) -> None:
        (reader, *_), _, _ = select.select(self._running, [], [])
        with os.fdopen(reader, "rb") as pipe:
            result = pipe.read()  # to its end before the wait: a pipe holds less than a long result
        _, status = os.waitpid(self._running.pop(reader), 0)
        if status:
            raise RuntimeError("a case has ended with an error; it is printed above")
        self._results.append(pickle.loads(result))
