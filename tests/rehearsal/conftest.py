"""One stage for every test that needs real processes: starting it costs more than most stories."""

from collections.abc import AsyncIterator

import pytest

from rehearsal.test_environment import TestEnvironment, rehearsal_stage

AUTH = "admin:rehearsal"


@pytest.fixture(scope="session")
async def test_env() -> AsyncIterator[TestEnvironment]:
    """World, users, Prefect with its password on, and a worker."""
    async with rehearsal_stage(auth=AUTH) as ready:
        yield ready
