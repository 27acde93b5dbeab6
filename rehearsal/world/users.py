"""Steady users, from the outside: start them, say how many, ask what they met. They live in ``load.py``."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

from rehearsal.world import child

CROWD = Path(__file__).with_name("crowd.py")
LINE_BYTES = 1024 * 1024
STOP_WITHIN_S = 5.0


class UsersGoneError(RuntimeError):
    """The users' process has ended."""


class Users:
    """``async with Users.start() as users``: a process of their own, gone when the block or this process ends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        """Users who do nothing yet."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*child.command(CROWD), stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        try:
            yield cls(process)
        finally:
            await _end(process)

    @property
    def pid(self) -> int:
        """Their process."""
        return self._process.pid

    async def rates(self, rates: Mapping[str, float]) -> None:
        """From now on exactly these targets (base URLs) get so many requests a second; the counts go on."""
        await self._ask({"do": "rates", "rates": dict(rates)})

    async def counts(self) -> list[dict[str, Any]]:
        """``[{target, revision, status, count}]`` since the start or the last `reset`.

        ``status`` is what was answered, as text, or ``failed`` (no answer: refused, broken off, 30 s) or ``unsent``
        (2,000 others were under way). ``revision`` is empty where no revision answered. What is under way is not in it.
        """
        return list(await self._ask({"do": "counts"}))

    async def reset(self) -> None:
        """All counts are zero; the streams go on."""
        await self._ask({"do": "reset"})

    async def _ask(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        async with self._one_at_a_time:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            line = await self._process.stdout.readline()
        if not line:
            raise UsersGoneError(f"the users' process ended with {await self._process.wait()}")
        return json.loads(line)


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends with its standard input, or is killed."""
    if process.stdin:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
