"""Child processes of a rehearsal: each in its own process group, logged to a file, ended with this process."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from rehearsal.world import child

GONE_WITHIN_S = 5.0
LOOK_S = 0.05


def with_environ(name: str, value: object) -> list[int]:
    """The ids of all processes that were started with this variable in their environment."""
    mark = f"{name}={value}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
    return found


async def end_all(name: str, value: object) -> None:
    """No process that was started with this variable in its environment is left: each got SIGKILL."""
    for _ in range(int(GONE_WITHIN_S / LOOK_S)):
        if not (left := with_environ(name, value)):
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(LOOK_S)


class Child:
    """One child process and its log."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self.process = process
        self.log = log

    @classmethod
    async def start(cls, *command: str, log: Path, environ: Mapping[str, str], cwd: Path | None = None) -> "Child":
        """Start ``command`` with this environment and an empty standard input. It ends when this process ends."""
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *child.command(*command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(environ),
                cwd=cwd,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.returncode is None

    def tail(self, lines: int = 20) -> str:
        """The last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    async def done(self) -> None:
        """Wait for its end; who stops waiting stops it. Raises RuntimeError with the end of its log where its exit
        status is not 0."""
        try:
            status = await self.process.wait()
        except asyncio.CancelledError:
            await self.stop()
            raise
        if status:
            raise RuntimeError(f"{self.log.name} ended with {self.process.returncode}:\n{self.tail()}")

    async def stop(self, grace_s: float = 10.0) -> None:
        """Send SIGTERM to the process group, and SIGKILL after ``grace_s`` seconds."""
        for sign, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
            if not self.is_running:
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, sign)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), wait_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
