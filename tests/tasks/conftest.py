"""A world of two services, and the real `CloudRun` block in front of it."""

import os
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from blocks import CloudRun
from rehearsal.world.remote import RemoteWorld


@pytest.fixture(scope="session")
async def whole_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RemoteWorld]:
    """A world of two services in its own process."""
    async with RemoteWorld.start(tmp_path_factory.mktemp("world"), small=True) as world:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in world.client_environ.items():
                patch.setitem(os.environ, name, value)
            yield world


@pytest.fixture
async def world(whole_world: RemoteWorld) -> RemoteWorld:
    """The world as it is at the start."""
    await whole_world.reset()
    return whole_world


@pytest.fixture
def env(world: RemoteWorld) -> SimpleNamespace:
    """As much of an environment as `ensure` needs."""
    cloud_run = CloudRun(
        project="ethixai-production",
        region="us-east1",
        api_endpoint=world.grpc_endpoint,
        api_url=world.rest_url,
        read_timeout_s=5,
        write_timeout_s=20,
    )
    return SimpleNamespace(cloud_run=cloud_run)
