"""One small world for the whole folder, reset before each test that asks for it, and Google's own clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import httpx
import pytest
from google.cloud import run_v2, secretmanager_v1
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2AsyncClient
from google.longrunning import operations_pb2
from google.protobuf import duration_pb2

from rehearsal.world.remote import RemoteWorld
from tests.world.v1_client import V1

BACKEND = "ethixai-backend"
PINNED = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST


@dataclass
class Cloud:
    """The backend of the small world, through the official async clients."""

    STABLE: ClassVar[str] = "ethixai-backend-00041-xyz"
    REPOSITORY: ClassVar[str] = "ghcr.io/geoaziz/ethixai-backend"

    world: RemoteWorld
    services: run_v2.ServicesAsyncClient
    revisions: run_v2.RevisionsAsyncClient
    logging: LoggingServiceV2AsyncClient
    secrets: secretmanager_v1.SecretManagerServiceAsyncClient

    @staticmethod
    def target(revision: str, percent: int = 0, tag: str = "") -> run_v2.TrafficTarget:
        """A traffic target; revision ``LATEST`` is that allocation."""
        if revision == "LATEST":
            return run_v2.TrafficTarget(type_=LATEST, percent=percent, tag=tag)
        return run_v2.TrafficTarget(type_=PINNED, revision=revision, percent=percent, tag=tag)

    @property
    def name(self) -> str:
        """The backend's full name."""
        return self.world.find(BACKEND)

    async def get(self) -> run_v2.Service:
        """The backend now."""
        return await self.services.get_service(name=self.name, timeout=10)

    async def update(
        self, service: run_v2.Service, *paths: str, validate_only: bool = False, allow_missing: bool = False
    ) -> operations_pb2.Operation:
        """UpdateService, and its operation once it has ended."""
        request = run_v2.UpdateServiceRequest(
            service=service,
            update_mask={"paths": list(paths)},
            validate_only=validate_only,
            allow_missing=allow_missing,
        )
        return await self.ended((await self.services.update_service(request=request, timeout=10)).operation)

    async def ended(self, operation: operations_pb2.Operation) -> operations_pb2.Operation:
        """The operation once it is done."""
        while not operation.done:
            operation = await self.wait(operation.name, 10)
        return operation

    async def wait(self, name: str, timeout_s: float) -> operations_pb2.Operation:
        """WaitOperation; the client hands its reply over unread."""
        timeout = duration_pb2.Duration()
        timeout.FromMilliseconds(int(timeout_s * 1000))
        request = operations_pb2.WaitOperationRequest(name=name, timeout=timeout)
        reply: Any = await self.services.wait_operation(request, timeout=timeout_s + 10)
        return operations_pb2.Operation.FromString(reply) if isinstance(reply, bytes) else reply

    async def shift(self, *targets: run_v2.TrafficTarget) -> operations_pb2.Operation:
        """The traffic of the backend is set, without an etag."""
        return await self.update(run_v2.Service(name=self.name, traffic=targets), "traffic")

    async def deploy(
        self, revision: str, behaviour: str = "healthy", traffic: Sequence[run_v2.TrafficTarget] | None = None
    ) -> operations_pb2.Operation:
        """A new image in the registry, and a revision of it; by default with tag canary and no percent."""
        digest = await self.world.publish(self.REPOSITORY, revision, {"BEHAVIOUR": behaviour})
        service = await self.get()
        service.template.containers[0].image = f"{self.REPOSITORY}@{digest}"
        service.template.revision = revision
        service.traffic = traffic or [self.target(self.STABLE, 100), self.target(revision, 0, "canary")]
        return await self.update(service, "template", "traffic")

    @staticmethod
    async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
        """Ask until the answer is something, and return it; at most 20 s."""
        async with asyncio.timeout(20):
            while True:
                if answer := await ask():
                    return answer
                await asyncio.sleep(0.05)

    async def served(self) -> dict[str, int]:
        """``{revision: percent}`` of the backend."""
        return (await self.world.served())[BACKEND]


@pytest.fixture(scope="session")
async def session_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RemoteWorld]:
    """A world of two services in its own process."""
    async with RemoteWorld.start(tmp_path_factory.mktemp("world"), small=True) as world:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in world.client_environ.items():
                patch.setenv(name, value)
            yield world


@pytest.fixture(scope="session")
async def session_cloud(session_world: RemoteWorld) -> Cloud:
    """The clients, made once in the loop they are used in: an endpoint and two environment variables are all they
    need."""
    options = {"api_endpoint": session_world.grpc_endpoint}
    return Cloud(
        session_world,
        run_v2.ServicesAsyncClient(client_options=options),
        run_v2.RevisionsAsyncClient(client_options=options),
        LoggingServiceV2AsyncClient(client_options=options),
        secretmanager_v1.SecretManagerServiceAsyncClient(client_options=options),
    )


@pytest.fixture
async def cloud(session_cloud: Cloud) -> Cloud:
    """The clients, and the world as it is at the start."""
    await session_cloud.world.reset()
    return session_cloud


@pytest.fixture
async def world(cloud: Cloud) -> RemoteWorld:
    """The world as it is at the start."""
    return cloud.world


@pytest.fixture
async def v1(cloud: Cloud) -> AsyncIterator[V1]:
    """The backend over v1, in the world as it is at the start."""
    async with httpx.AsyncClient(base_url=cloud.world.rest_url, trust_env=False, timeout=60) as http:
        yield V1(cloud, http, await cloud.world.access_token())
