"""A client of the load process (``load.py``): start it, set its rates, read its counts."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

from rehearsal.world import child

LOAD = Path(__file__).with_name("load.py")
LINE_BYTES = 1024 * 1024
STOP_WITHIN_S = 5.0


class UsersGoneError(RuntimeError):
    """The load process has ended."""


class Users:
    """``async with Users.start() as users``: the load process runs until the block or this process ends."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    @contextlib.asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        """Start the load process, without requests at first."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*child.command(LOAD), stdin=pipe, stdout=pipe, limit=LINE_BYTES)
        try:
            yield cls(process)
        finally:
            await _end(process)

    @property
    def pid(self) -> int:
        """The id of the load process."""
        return self._process.pid

    async def rates(self, rates: Mapping[str, float]) -> None:
        """Send so many requests a second to exactly these targets (base URLs) from now on. The counts continue."""
        await self._ask({"do": "rates", "rates": dict(rates)})

    async def sign_in(self, target: str, token: str) -> None:
        """The requests to ``target`` carry an ID token from now on, until its stream is stopped."""
        await self._ask({"do": "sign_in", "target": target, "token": token})

    async def counts(self) -> list[dict[str, Any]]:
        """``[{target, revision, status, count}]`` since the start or the last `reset`.

        ``status`` is what was answered, as text, or ``failed`` (no answer: refused, broken off, 30 s) or ``unsent``
        (2,000 others were under way). ``revision`` is empty where no revision answered. What is under way is not in it.
        """
        return list(await self._ask({"do": "counts"}))

    async def reset(self) -> None:
        """Set all counts to zero. The requests continue."""
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
    """End the process by closing its standard input, or kill it."""
    if process.stdin:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
