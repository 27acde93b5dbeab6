"""CPU and memory of process trees: what a Prefect server, its database and a worker cost."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

import psutil

SAMPLE_S = 0.5
MB = 1e6


@dataclass
class Usage:
    """What the trees below some processes used while they were watched."""

    began_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0
    cpu_s: dict[tuple[int, float], float] = field(default_factory=dict)
    """(pid, start time) -> CPU seconds until it was last seen"""
    before_s: dict[tuple[int, float], float] = field(default_factory=dict)
    peak_mb: float = 0.0
    """of memory that is its own: shared pages are divided between those who share them (PSS)"""

    @property
    def cores(self) -> float:
        """How many cores it used on average."""
        used = sum(seconds - self.before_s.get(key, 0.0) for key, seconds in self.cpu_s.items())
        return used / max(self.ended_s - self.began_s, SAMPLE_S)


def _tree(roots: Iterable[int]) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for pid in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(pid)
            found += [root, *root.children(recursive=True)]
    return found


def _look(usage: Usage, roots: Iterable[int], *, is_first: bool = False) -> None:
    total = 0.0
    for process in _tree(roots):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            key, times = (process.pid, process.create_time()), process.cpu_times()
            usage.cpu_s[key] = times.user + times.system
            if is_first:
                usage.before_s[key] = usage.cpu_s[key]
            total += process.memory_full_info().pss / MB
    usage.peak_mb = max(usage.peak_mb, total)


@contextlib.asynccontextmanager
async def watched(trees: Mapping[str, Iterable[int]]) -> AsyncIterator[dict[str, Usage]]:
    """What each named tree uses within the block, complete when the block has ended. Processes that begin and end
    between two samples are not seen."""
    usages = {name: Usage() for name in trees}
    for name, roots in trees.items():
        _look(usages[name], roots, is_first=True)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            for name, roots in trees.items():
                await asyncio.to_thread(_look, usages[name], roots)

    looking = asyncio.create_task(go_on())
    try:
        yield usages
    finally:
        looking.cancel()
        for usage in usages.values():
            usage.ended_s = time.monotonic()


def memory_mb(root: int) -> float:
    """PSS of the tree below ``root``."""
    usage = Usage()
    _look(usage, [root])
    return usage.peak_mb
