"""The one way out: every call of every process to anything outside passes here, is numbered, and may go wrong.

A process that is killed does nothing more. What it was waiting for never answers; what it tries afterwards (a
``finally``, a task that ran beside) is not sent. An exception alone would let it clean up, which the dead do not.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, TypeVar

from faults import Fault

T = TypeVar("T")
Step = Callable[[str, str, Callable[[], Any]], Any]
"""method, subject, what happens on the other side -> what it answers"""

LATENCY_S = 0.01
"""From here to the other side. What runs side by side meets in between."""


class Moment(StrEnum):
    """When a process dies, seen from one call."""

    BEFORE = "before it is sent"
    APPLIED = "applied, no reply"
    AFTER = "after the reply"


class Call(NamedTuple):
    """One call of one process; ``n`` counts from 0 in each process."""

    n: int
    system: str
    method: str
    subject: str

    def __str__(self) -> str:
        return f"{self.system}.{self.method} {self.subject}".rstrip()


class Killed(BaseException):  # it is an end, like KeyboardInterrupt, and no error
    """What a dead process meets when it is buried, or the whole stage is cleared. Nothing catches it."""


@dataclass(eq=False)
class Process:
    """One flow run's process. ``orders`` says what happens at which of its calls."""

    name: str
    flow_run_id: str
    orders: Mapping[int, Moment | Fault] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    applied: list[Call] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """what it tried after its death"""
    is_dead: bool = False
    is_buried: bool = False
    """nobody waits any more for what it would have done"""
    death: asyncio.Event = field(default_factory=asyncio.Event)

    def die(self) -> None:
        """SIGKILL."""
        self.is_dead = True
        self.death.set()


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


class Wire:
    """Carries calls. ``faults`` are asked for each call that has no order of its own: None lets it through."""

    def __init__(self) -> None:
        self.faults: list[Callable[[Process, Call], Fault | None]] = []
        self.is_cleared = False

    async def carry(
        self, system: str, method: str, subject: str, apply: Callable[[], Awaitable[T] | T], timeout_s: float = 10
    ) -> T:
        """``apply`` happens on the other side, at once and whole; what it returns (or awaits) is the answer.

        Raises what ``apply`` raises, or what the ordered fault means to a block.
        """
        process = PROCESS.get()
        await self._lives(process, system, method)
        call, order = self._numbered(process, system, method, subject)
        if order is Moment.BEFORE:
            process.die()
        await asyncio.sleep(LATENCY_S)
        await self._lives(process, system, method)
        if isinstance(order, Fault) and not order.is_applied:
            await asyncio.sleep(timeout_s if order.takes_all_time else 0)
            raise order.error(call)
        answer = await self._answer(process, call, order, apply)
        if isinstance(order, Fault):
            await asyncio.sleep(timeout_s if order.takes_all_time else 0)
            raise order.error(call)
        return answer

    async def carry_each(self, system: str, work: Callable[[Step], T]) -> T:
        """What ``work`` returns, which takes one step after another in a thread of its process: each step is a call.

        They take no time in between, and after a death no further one is taken.
        """
        process = PROCESS.get()
        await self._lives(process, system, "work")
        await asyncio.sleep(LATENCY_S)
        await self._lives(process, system, "work")
        try:
            return work(partial(self._step, process, system))
        except Killed:
            await self._lives(process, system, "work")
            raise

    def _step(self, process: Process, system: str, method: str, subject: str, apply: Callable[[], Any]) -> Any:
        """One step of ``carry_each``. A process that dies in it meets Killed, and whatever it tries then is refused."""
        if process.is_dead:
            process.refused.append(f"{system}.{method}")
            raise Killed
        call, order = self._numbered(process, system, method, subject)
        if isinstance(order, Fault):
            if order.is_applied:
                apply()
            raise order.error(call)
        if order is not Moment.BEFORE:
            reply = apply()
            process.applied.append(call)
        if order is not None:
            process.die()
            raise Killed
        return reply

    def _numbered(self, process: Process, system: str, method: str, subject: str) -> tuple[Call, Moment | Fault | None]:
        """The next call of the process, and what is ordered for it."""
        call = Call(len(process.calls), system, method, subject)
        process.calls.append(call)
        order = process.orders.get(call.n)
        return call, order or next((f for ask in self.faults if (f := ask(process, call))), None)

    async def _answer(self, process: Process, call: Call, order: object, apply: Callable[[], Awaitable[T] | T]) -> T:
        """What the other side says, or raises; the process may die before it hears it."""
        try:
            reply: Any = apply()
            process.applied.append(call)
            if order is Moment.APPLIED:
                process.die()
            return await reply if inspect.isawaitable(reply) else reply
        finally:
            if order in (Moment.APPLIED, Moment.AFTER):
                process.die()
            await self._lives(process, call.system, call.method)

    async def _lives(self, process: Process, system: str, method: str) -> None:
        """Nothing, for a process that lives. A dead one never comes back from here."""
        if not process.is_dead:
            return
        process.refused.append(f"{system}.{method}")
        if self.is_cleared or process.is_buried:
            raise Killed
        await asyncio.get_running_loop().create_future()
