"""The one way of writing, against the stand-in: doing it twice writes once, whatever became of the first reply."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from playbook.errors import Transient
from playbook.lease import change
from playbook.lease.change import Change
from playbook.lease.lease import Lease, ReleaseLease, ServiceRollout
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot
from rehearsal.world.remote import RemoteWorld
from tasks.ensure import ensure

BACKEND = "ethixai-backend"
UPDATE = "Services.ReplaceService"


async def lease_of(env: SimpleNamespace) -> Lease:
    """A claim of the backend as it is now."""
    found = await env.cloud_run.snapshot(BACKEND)
    rollout = ServiceRollout(
        service=BACKEND,
        from_revision=found.pinned.main,
        found=found.pinned,
        to_revision=f"{BACKEND}-new",
        image="repo@sha256:0",
        latest_created=found.latest_created,
    )
    return ReleaseLease(
        release_id="v20251116-abc123-1f2e3d",
        version="v20251116-abc123",
        flow_run_id="11111111-1111-4111-8111-111111111111",
        epoch=100,
        rollouts=(rollout,),
        canary_percent=10,
        deadline_s=1e10,
    )


async def accepted(world: RemoteWorld) -> list[dict[str, Any]]:
    """The writes that took effect."""
    return [write for write in await world.writes() if write["applied"]]


async def test_ensuring_twice_writes_once(world: RemoteWorld, env: SimpleNamespace) -> None:
    """The second time everything is so already."""
    step = partial(change.to_acquire, lease=await lease_of(env))
    first = await ensure(env, BACKEND, step)
    second = await ensure(env, BACKEND, step)
    assert first.etag == second.etag
    assert len(await accepted(world)) == 1


async def test_a_lost_reply_is_found_out_by_reading(world: RemoteWorld, env: SimpleNamespace) -> None:
    """The write took effect and nobody heard so: asked again, nothing is written again."""
    step = partial(change.to_acquire, lease=await lease_of(env))
    await world.fault(UPDATE, "UNAVAILABLE", applied=True)
    with pytest.raises(Transient):
        await ensure(env, BACKEND, step)
    found = await ensure(env, BACKEND, step)
    assert Record.read(found).holder == "v20251116-abc123-1f2e3d"
    assert len(await accepted(world)) == 1


async def test_a_service_that_changed_is_read_and_decided_again(world: RemoteWorld, env: SimpleNamespace) -> None:
    """Somebody writes between our read and our write: theirs stays, ours comes on top of it."""
    lease, seen = await lease_of(env), []

    async def theirs(snapshot: ServiceSnapshot, wanted: Change) -> ServiceSnapshot:
        if not seen:
            seen.append(snapshot.etag)
            await world.out_of_band(world.find(BACKEND), annotations={**snapshot.annotations, "team": "theirs"})
        return await real(snapshot, wanted)

    real = env.cloud_run.write
    meddled = SimpleNamespace(cloud_run=SimpleNamespace(snapshot=env.cloud_run.snapshot, write=theirs))
    found = await ensure(meddled, BACKEND, partial(change.to_acquire, lease=lease))
    assert found.annotations["team"] == "theirs"
    assert Record.read(found).lease == lease
