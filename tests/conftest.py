"""How hypothesis is run: without a clock, and in CI without chance, so that a red run there has a cause in the code.

How loopback is reached: directly, whatever proxy the machine names. And the one test environment with real processes,
for all tests that need it: starting it takes longer than most scenarios.
"""

import gc
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import settings

from rehearsal.world.loopback import reach_directly

AUTH = "admin:rehearsal"

settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
reach_directly()
os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"  # a test that forgot its server fails, and starts none


def pytest_collection_finish() -> None:
    """Some ten thousand tests and all that they import stay to the end: the garbage collector need not go through them,
    and a fork (tests/chaos/forks.py) shares their pages."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
async def test_env() -> AsyncIterator[Any]:
    """World, load, a worker, and a Prefect server with a password."""
    from rehearsal.test_environment import running_environment  # seconds that no other test has to pay

    async with running_environment(auth=AUTH) as ready:
        yield ready
