"""Every call of a simulated process to an outside system passes here, gets a number, and may fail.

A killed process does nothing more. The call that it waits for never returns, and calls that it tries afterwards (in a
``finally``, in a concurrent task) are not sent. An exception alone would let it clean up, which SIGKILL does not.
"""

import asyncio
import inspect
import re
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
"""How long a request is under way. Concurrent calls interleave here."""
READS = re.compile(
    "GET|block|checks|clock|count_documents|deploys|drift|errors|find(_one)?|history|list_collection_names|on_call|"
    "oom_kills|read .*|release_notes|revisions?|search|series|snapshot|token|unreachable|value"
)
"""The methods that change nothing."""


class Moment(StrEnum):
    """When a process is killed, relative to one call."""

    BEFORE = "before it is sent"
    APPLIED = "applied, no reply"
    AFTER = "after the reply"


class Call(NamedTuple):
    """One call of one process; ``n`` counts from 0 in each process."""

    n: int
    system: str
    method: str
    subject: str

    @property
    def only_reads(self) -> bool:
        """Whether it changes nothing on the other side."""
        return bool(READS.fullmatch(self.method))

    def __str__(self) -> str:
        return f"{self.system}.{self.method} {self.subject}".rstrip()


class Killed(BaseException):  # it ends the program, like KeyboardInterrupt
    """Raised in the tasks of a killed process so that they end, when it is cleaned up. Not caught."""


@dataclass(eq=False)
class Process:
    """The simulated process of one flow run. ``orders``: number of a call -> what happens there."""

    name: str
    flow_run_id: str
    orders: Mapping[int, Moment | Fault] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    applied: list[Call] = field(default_factory=list)
    disturbed: list[Moment | Fault] = field(default_factory=list)
    """what became of its calls that were not let through"""
    refused: list[str] = field(default_factory=list)
    """the calls that it tried after it was killed"""
    is_dead: bool = False
    is_buried: bool = False
    """its remaining tasks may end"""
    death: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def changes(self) -> int:
        """How many of its calls have changed something."""
        return sum(not call.only_reads for call in self.applied)

    def die(self) -> None:
        """SIGKILL."""
        self.is_dead = True
        self.death.set()


PROCESS: ContextVar[Process] = ContextVar("PROCESS")


class Wire:
    """Carries calls. ``faults`` are asked for each call without an order of its own; None lets it through."""

    def __init__(self) -> None:
        self.faults: list[Callable[[Process, Call], Moment | Fault | None]] = []
        self.is_cleared = False

    async def carry(
        self, system: str, method: str, subject: str, apply: Callable[[], Awaitable[T] | T], timeout_s: float = 10
    ) -> T:
        """Carry one call: ``apply`` takes effect on the other side; what it returns (or awaits) is the answer.

        Raises what ``apply`` raises, or the error of the ordered fault.
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
        """Run ``work``, which takes steps in a thread of its process: each step is a call. Returns its result.

        No time passes between steps, and after a kill no further step is taken.
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
        """One step of ``carry_each``. Raises Killed when the process is killed in it or before it."""
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
        """The next call of the process, and the order for it."""
        call = Call(len(process.calls), system, method, subject)
        process.calls.append(call)
        order = process.orders.get(call.n) or next((f for ask in self.faults if (f := ask(process, call))), None)
        if order is not None:
            process.disturbed.append(order)
        return call, order

    async def _answer(self, process: Process, call: Call, order: object, apply: Callable[[], Awaitable[T] | T]) -> T:
        """The other side's answer or error; the process may be killed before it receives it."""
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
        """Return if the process lives. For a killed one, never return, or raise Killed when it is cleaned up."""
        if not process.is_dead:
            return
        process.refused.append(f"{system}.{method}")
        if self.is_cleared or process.is_buried:
            raise Killed
        await asyncio.get_running_loop().create_future()
