"""Ordered faults of gRPC methods, and the log of writes."""

import asyncio
import fnmatch
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field

import grpc

NEVER = "NEVER"
"""An operation that does not end."""


@dataclass
class Fault:
    """An order: calls of ``method`` fail (or are late) as said here.

    ``method`` and ``resource`` are shell patterns over ``Services.UpdateService`` and the resource's name. With
    ``code`` empty a call is only late, by ``delay_s``. ``count`` ends the order after so many calls (None: never).
    ``every`` = k hits each k-th call that matches, exactly. ``applied``: the call takes effect, then the reply is
    lost; so is that to a call which the world refuses. ``hang``: no reply before the client gives up. An order of
    neither lets its call through as it is.
    ``operation``: the write is accepted, and this becomes of its operation: it ends with that code and nothing of the
    write is served, or with `NEVER` it stays open although the write is served.
    ``met`` is set once a call has come as far as it is ordered to: it hangs, or its reply is on its way.
    """

    method: str
    code: str = ""
    resource: str = "*"
    count: int | None = 1
    every: int = 1
    delay_s: float = 0.0
    applied: bool = False
    hang: bool = False
    message: str = ""
    operation: str = ""
    seen: int = field(default=0, init=False)
    hit: int = field(default=0, init=False)
    met: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.applied and not self.hang:
            self.code = self.code or "UNAVAILABLE"
        if self.code and self.code not in grpc.StatusCode.__members__:
            raise ValueError(f"code: {self.code!r} is none of {', '.join(grpc.StatusCode.__members__)}")
        if self.operation not in ("", NEVER, *grpc.StatusCode.__members__):
            raise ValueError(f"operation: {self.operation!r} is neither {NEVER} nor a status code")
        if self.every < 1:
            raise ValueError(f"every: must be 1 or more, not {self.every}")

    def takes(self, method: str, resource: str) -> bool:
        """Whether this call is hit. Counts the calls it matches."""
        if self.count is not None and self.hit >= self.count:
            return False
        if not (fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(resource, self.resource)):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.hit += 1
        return True

    @property
    def status(self) -> grpc.StatusCode | None:
        """The code to answer with; None for a call that is only late."""
        return grpc.StatusCode[self.code] if self.code else None

    async def before(self) -> None:
        """Wait as ordered; a call that hangs without effect waits here until its client gives up."""
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.hang and not self.applied:
            self.met.set()
            await asyncio.Event().wait()

    async def after(self) -> None:
        """Hang after the effect, when so ordered."""
        self.met.set()
        if self.hang:
            await asyncio.Event().wait()


class Faults:
    """The ordered faults. The first one that matches a call takes effect."""

    def __init__(self) -> None:
        self.orders: list[Fault] = []

    def add(self, fault: Fault) -> Fault:
        """Order ``fault``, after those that stand."""
        self.orders.append(fault)
        return fault

    def clear(self) -> None:
        """Cancel all faults."""
        self.orders.clear()

    def take(self, method: str, resource: str) -> Fault | None:
        """The fault that hits this call, if any."""
        return next((fault for fault in self.orders if fault.takes(method, resource)), None)


@dataclass
class Write:
    """One call that would change something, as the world saw it.

    ``at`` is unix seconds when it took effect (or was refused), ``served_at`` when the proxy had followed.
    ``traffic`` is ``[{revision, percent, tag}]`` (revision ``LATEST`` for that allocation). ``code`` is what the
    caller got, ``applied`` whether it took effect all the same, ``result`` how its operation ended (empty: running).
    """

    method: str
    resource: str
    caller: str
    mask: list[str] = field(default_factory=list)
    traffic: list[dict[str, str | int]] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    seq: int = 0
    at: float = 0.0
    code: str = ""
    message: str = ""
    applied: bool = False
    result: str = ""
    served_at: float | None = None


class Writes:
    """Every mutating call in order. A ``validate_only`` call and a written log entry are none."""

    def __init__(self) -> None:
        self._seq = 0
        self._writes: list[Write] = []

    def add(self, write: Write, code: str, message: str = "") -> None:
        """Append ``write`` with the code its caller gets."""
        self._seq += 1
        write.seq, write.at, write.code, write.message = self._seq, time.time(), code, message
        self._writes.append(write)

    def clear(self) -> None:
        """Forget what was written; the sequence goes on."""
        self._writes.clear()

    def since(self, seq: int = 0) -> Iterable[dict[str, object]]:
        """The writes after ``seq``, oldest first, as plain data."""
        return [asdict(write) for write in self._writes if write.seq > seq]
