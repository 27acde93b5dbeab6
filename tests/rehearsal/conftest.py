"""One test environment for all tests that need real processes: starting it takes longer than most scenarios."""

from collections.abc import AsyncIterator

import pytest

from rehearsal.test_environment import TestEnvironment, running_environment

AUTH = "admin:rehearsal"


@pytest.fixture(scope="session")
async def test_env() -> AsyncIterator[TestEnvironment]:
    """World, load, a worker, and a Prefect server with a password."""
    async with running_environment(auth=AUTH) as ready:
        yield ready
