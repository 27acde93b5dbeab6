"""The one way of writing, against the stand-in: doing it twice writes once, whatever became of the first reply."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from playbook.errors import Refused, Transient
from playbook.lease import change
from playbook.lease.change import Change
from playbook.lease.lease import Lease, ReleaseLease, ServiceRollout
from playbook.lease.record import Record
from playbook.release.promotion import Promotion
from playbook.release.traffic import ServiceSnapshot, TrafficSplit
from rehearsal.world.remote import RemoteWorld
from tasks.ensure import ensure

BACKEND = "ethixai-backend"
UPDATE = "Services.ReplaceService"
LIST = "Revisions.ListRevisions"
Step = Callable[[ServiceSnapshot], Change | None]


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


async def test_a_record_that_could_not_be_read_again_is_not_written(world: RemoteWorld, env: SimpleNamespace) -> None:
    """A fault of the engine ends before the write, not at the next run, which would find users stranded."""
    good = Promotion.model_construct(release="", revision="r", digest="repo/x:tag", promoted_at_s=0, is_return=False)
    unreadable = Change(record=Record().model_copy(update={"last_good": (good,)}))
    with pytest.raises(Refused, match="nothing was written"):
        await ensure(env, BACKEND, lambda _: unreadable)
    assert not await world.writes()


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
    """Another client writes between our read and our write: theirs stays, ours comes on top of it."""
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


async def not_serving(world: RemoteWorld, env: SimpleNamespace) -> tuple[str, str]:
    """A revision of the backend that serves no user and has no tag, and the one that serves."""
    serving = (await env.cloud_run.snapshot(BACKEND)).pinned.main
    image = (await env.cloud_run.revision(BACKEND, serving)).image
    revision, full = f"{BACKEND}-00009-new", world.find(BACKEND)
    await world.out_of_band(full, traffic=[{"revision": serving, "percent": 100}])
    await world.out_of_band(full, deploy={"revision": revision, "image": image})
    await world.out_of_band(full, deploy={"revision": f"{BACKEND}-00010-last", "image": image})
    return revision, serving


def all_to(revision: str) -> Step:
    """The step that sends all users to ``revision``."""

    def step(snapshot: ServiceSnapshot) -> Change | None:
        split = TrafficSplit.all_to(revision)
        is_so = snapshot.served is not None and snapshot.served.moves_like(split)
        return None if is_so else Change(record=Record.read(snapshot), split=split)

    return step


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "PERMISSION_DENIED"])
async def test_users_wait_for_no_list_of_revisions(world: RemoteWorld, env: SimpleNamespace, code: str) -> None:
    """Where Cloud Run does not list them, the write goes ahead: it is refused if the revision is not there."""
    revision, serving = await not_serving(world, env)
    await world.fault(LIST, code, count=None)
    with disable_run_logger():
        found = await ensure(env, BACKEND, all_to(revision))
        assert found.served == TrafficSplit.all_to(revision)
        with pytest.raises(Refused, match="gone"):
            await ensure(env, BACKEND, all_to(f"{BACKEND}-gone"))
    found = await env.cloud_run.snapshot(BACKEND)
    assert found.served == TrafficSplit.all_to(revision) != TrafficSplit.all_to(serving)


async def test_no_user_is_sent_to_a_revision_that_is_gone(world: RemoteWorld, env: SimpleNamespace) -> None:
    """The list says so before anything is written."""
    with pytest.raises(Refused, match="has no revision ethixai-backend-gone"):
        await ensure(env, BACKEND, all_to(f"{BACKEND}-gone"))
    assert not await world.writes()


async def test_a_refusal_keeps_its_reason_where_tags_cannot_be_looked_at(
    world: RemoteWorld, env: SimpleNamespace
) -> None:
    """Another person's tag may be the reason. Without the list it is not known, and Cloud Run's own words are told."""
    serving = (await env.cloud_run.snapshot(BACKEND)).pinned.main
    tagged = [{"revision": serving, "percent": 100}, {"revision": serving, "tag": "pr-1"}]
    await world.out_of_band(world.find(BACKEND), traffic=tagged)
    await world.fault(LIST, "PERMISSION_DENIED", count=None)

    def step(snapshot: ServiceSnapshot) -> Change:
        return Change(record=Record.read(snapshot), split=TrafficSplit.all_to(serving, {"pr-1": f"{BACKEND}-gone"}))

    with disable_run_logger(), pytest.raises(Refused, match="gone"):
        await ensure(env, BACKEND, step)
