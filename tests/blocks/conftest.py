"""What the blocks talk to: one small world for the folder, and the vendors' stand-ins, each on real sockets."""

import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from blocks import CloudLogging, CloudRun, EthixAI, Prometheus
from playbook.lease.change import Change, Deployment
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot, TrafficSplit
from rehearsal.world.remote import RemoteWorld
from rehearsal.world.serving import serve
from rehearsal.world.vendors import Vendors

BACKEND = "ethixai-backend"
REPOSITORY = "ghcr.io/geoaziz/ethixai-backend"
PROJECT = "ethixai-production"


@pytest.fixture(scope="session")
async def whole_world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RemoteWorld]:
    """A world of two services in its own process."""
    async with RemoteWorld.start(tmp_path_factory.mktemp("world"), small=True) as world:
        before = dict(os.environ)
        os.environ.update(world.client_environ)
        yield world
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
async def world(whole_world: RemoteWorld) -> RemoteWorld:
    """The world as it is at the start."""
    await whole_world.reset()
    return whole_world


@pytest.fixture(scope="session")
def cloud_run(whole_world: RemoteWorld) -> CloudRun:
    """The services of the world's production."""
    return CloudRun(
        project=PROJECT,
        region="us-east1",
        api_endpoint=whole_world.grpc_endpoint,
        api_url=whole_world.rest_url,
        read_timeout_s=5,
        write_timeout_s=20,
    )


@pytest.fixture(scope="session")
def logging(whole_world: RemoteWorld) -> CloudLogging:
    """The logs of the world's production."""
    return CloudLogging(project=PROJECT, api_endpoint=whole_world.grpc_endpoint)


@pytest.fixture(scope="session")
def prometheus(whole_world: RemoteWorld) -> Prometheus:
    """The world's Prometheus, the real one."""
    return Prometheus(url=whole_world.prometheus_url, step_s=1)


@pytest.fixture(scope="session")
def ethixai() -> EthixAI:
    """EthixAI as its users see it."""
    return EthixAI(poll_interval_s=0.2)


@dataclass
class Backend:
    """The backend of the world, as a release goes about it."""

    world: RemoteWorld
    cloud_run: CloudRun
    revision: str = field(default_factory=lambda: f"{BACKEND}-{uuid.uuid4().hex[:6]}")

    async def now(self) -> ServiceSnapshot:
        """A fresh read."""
        return await self.cloud_run.snapshot(BACKEND)

    async def move(self, split: TrafficSplit, epoch: int = 1) -> ServiceSnapshot:
        """Users are sent as ``split`` says."""
        return await self.cloud_run.write(await self.now(), Change(record=Record(epoch=epoch), split=split))

    async def deploy(self, behaviour: str = "healthy", **variables: str) -> ServiceSnapshot:
        """``revision`` runs an image that behaves so, with the tag canary and no user."""
        digest = await self.world.publish(REPOSITORY, self.revision, {"BEHAVIOUR": behaviour})
        return await self.cloud_run.write(*await self.deployment(f"{REPOSITORY}@{digest}", **variables))

    async def deployment(self, image: str, **variables: str) -> tuple[ServiceSnapshot, Change]:
        """The write that deploys ``image`` as ``revision``."""
        found = await self.now()
        base = found.pinned.main
        deployment = Deployment(revision=self.revision, base=base, image=image, environment=variables)
        split = TrafficSplit.all_to(base).with_tag("canary", self.revision)
        return found, Change(record=Record(epoch=1), split=split, deployment=deployment)


@pytest.fixture
def backend(world: RemoteWorld, cloud_run: CloudRun) -> Backend:
    """The backend as it is at the start."""
    return Backend(world, cloud_run)


@dataclass
class StandIns:
    """The vendors' stand-ins, in this process, and the URL that they are served at."""

    vendors: Vendors
    url: str

    def told(self, vendor: str) -> list[dict[str, object]]:
        """The bodies that a vendor accepted, in order."""
        return [entry["body"] for entry in self.vendors.calls if entry["vendor"] == vendor]


@pytest.fixture(scope="session")
async def all_stand_ins() -> AsyncIterator[StandIns]:
    """Every vendor's stand-in, served in this process."""
    vendors = Vendors()
    async with serve(vendors.app) as served:
        yield StandIns(vendors, served.url)


@pytest.fixture
def stand_ins(all_stand_ins: StandIns) -> StandIns:
    """The vendors' stand-ins, as they are at the start: no calls, no faults."""
    all_stand_ins.vendors.reset()
    return all_stand_ins
