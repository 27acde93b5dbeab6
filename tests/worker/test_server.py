"""Prefect's server with background services that end together."""

import subprocess
import sys

import pytest

from worker.server import EXIT

PROCESS = """
import asyncio
from worker import server

class Triggers:
    async def start(self):
        {does}

Triggers.start = server.ends_the_process(Triggers.start)

async def main():
    task = asyncio.create_task(Triggers().start())
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print("lives on")

asyncio.run(main())
"""
CASES = {
    "it fails": ("raise ConnectionRefusedError('the database is away')", EXIT, "service Triggers has failed"),
    "it is stopped": ("await asyncio.sleep(60)", 0, "lives on"),
    "it has ended": ("return", 0, "lives on"),
}


@pytest.mark.parametrize(("does", "status", "says"), CASES.values(), ids=CASES)
def test_the_process_ends_with_the_first_service_that_fails(does: str, status: int, says: str) -> None:
    """Prefect's own process lives on without it, and no automation starts anything any more."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESS.format(does=does)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, says in done.stdout + done.stderr) == (status, True), done.stderr
