"""Two runs write to one service at once, over v1 and real sockets; v2's etag is not enforced here."""

import asyncio
from types import SimpleNamespace

import pytest

from playbook.errors import Fenced
from playbook.lease.change import Change
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot
from rehearsal.world.remote import RemoteWorld
from tasks.ensure import ensure

SERVICE = "ethixai-backend"


class LateWriter:
    """The block; its first write waits for ``may_write``, long after the read that it was decided on."""

    def __init__(self, env: SimpleNamespace) -> None:
        self._cloud_run = env.cloud_run
        self.has_decided, self.may_write = asyncio.Event(), asyncio.Event()

    async def snapshot(self, service: str) -> ServiceSnapshot:
        """As the block's."""
        return await self._cloud_run.snapshot(service)

    async def write(self, snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        """As the block's, once it may."""
        self.has_decided.set()
        await self.may_write.wait()
        return await self._cloud_run.write(snapshot, change)


def own(snapshot: ServiceSnapshot, epoch: int) -> Change | None:
    """The service carries ``epoch``. Raises Fenced: a newer one is written there."""
    found = Record.read(snapshot)
    if found.epoch > epoch:
        raise Fenced(f"epoch {found.epoch} holds it")
    return None if found.epoch == epoch else Change(record=found.model_copy(update={"epoch": epoch}))


async def overtaken(env: SimpleNamespace) -> BaseException | None:
    """How the run of epoch 1 ends that decided before the run of epoch 2, and writes after it."""
    late = LateWriter(env)
    older = asyncio.create_task(ensure(SimpleNamespace(cloud_run=late), SERVICE, lambda found: own(found, 1)))
    await late.has_decided.wait()
    await ensure(env, SERVICE, lambda found: own(found, 2))
    late.may_write.set()
    return (await asyncio.gather(older, return_exceptions=True))[0] if not older.done() else older.exception()


async def test_an_older_epoch_never_overwrites_a_newer_one(world: RemoteWorld, env: SimpleNamespace) -> None:
    """Its write is refused under the version that it read; it reads again, and finds itself fenced (C12)."""
    assert isinstance(await overtaken(env), Fenced)
    assert Record.read(await env.cloud_run.snapshot(SERVICE)).epoch == 2
    assert [write["code"] for write in await world.writes()] == ["OK", "ABORTED"]


async def test_that_rests_on_the_resource_version(world: RemoteWorld, env: SimpleNamespace) -> None:
    """With the world's switch off the older epoch overwrites the newer one: nothing else keeps them apart."""
    await world.turn(enforce_resource_version=False)
    assert not isinstance(await overtaken(env), Fenced)
    assert Record.read(await env.cloud_run.snapshot(SERVICE)).epoch == 1


@pytest.mark.parametrize("runs", [5])
async def test_every_one_of_many_writers_is_heard(world: RemoteWorld, env: SimpleNamespace, runs: int) -> None:
    """Each adds an incident to what it read; none of them is lost, in whatever order they write."""

    def add(found: ServiceSnapshot, name: str) -> Change | None:
        record = Record.read(found)
        return None if name in record.incidents else Change(record=record.alarmed(name))

    await asyncio.gather(
        *(ensure(env, SERVICE, lambda found, name=f"incident-{n}": add(found, name)) for n in range(runs))
    )
    assert len(Record.read(await env.cloud_run.snapshot(SERVICE)).incidents) == runs
