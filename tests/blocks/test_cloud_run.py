"""CloudRun against the stand-in: what it reads, what it writes, and what it says when it cannot."""

import asyncio

import pytest

from blocks import CloudRun
from playbook.errors import Conflict, Refused, ReleaseError, StartFailed, Transient
from playbook.lease.change import Change
from playbook.lease.record import PREFIX, Record
from playbook.release.traffic import LATEST, Scaling, TrafficSplit
from rehearsal.world.remote import RemoteWorld

STABLE = "ethixai-backend-00041-xyz"
RECORD = Record(epoch=1)


async def test_a_snapshot_says_what_is_asked_and_what_is_served(backend) -> None:
    """A service that was never pinned asks for LATEST, and is served by its newest ready revision."""
    found = await backend.now()
    assert found.split == TrafficSplit.all_to(LATEST)
    assert found.served == TrafficSplit.all_to(STABLE)
    assert found.latest_ready == found.latest_created == STABLE
    assert found.etag
    assert not found.is_reconciling
    assert found.last_modifier == "owner@ethixai.example"


async def test_a_write_is_one_update_of_what_moves_and_the_record(backend) -> None:
    """Traffic and record go in one update; nothing else is sent, and the answer shows both in effect."""
    found = await backend.now()
    written = await backend.cloud_run.write(found, Change(record=RECORD, split=found.pinned))
    assert written.served == written.split == TrafficSplit.all_to(STABLE)
    assert Record.read(written) == RECORD
    (write,) = await backend.world.writes()
    assert write["mask"] == ["annotations", "traffic"]
    assert write["traffic"] == [{"revision": STABLE, "percent": 100, "tag": ""}]


async def test_other_peoples_annotations_are_kept(backend) -> None:
    """The whole map is replaced by a write, so what others put there is sent along."""
    await backend.world.out_of_band(backend.world.find("ethixai-backend"), annotations={"team": "platform"})
    written = await backend.move(TrafficSplit.all_to(STABLE))
    assert written.annotations == {"team": "platform", PREFIX + "epoch": "1"}


async def test_a_deployment_is_tagged_reachable_and_has_no_user(backend) -> None:
    """The new revision answers at its tag's URL, runs the image by digest, and nobody is sent to it."""
    written = await backend.deploy(MODE="careful")
    assert written.served == TrafficSplit.all_to(STABLE).with_tag("canary", backend.revision)
    assert written.tag_urls["canary"].startswith("http")
    revision = await backend.cloud_run.revision("ethixai-backend", backend.revision)
    assert revision.is_ready
    assert "@sha256:" in revision.image
    (write,) = await backend.world.writes()
    assert write["mask"] == ["annotations", "traffic", "template"]


async def test_a_shift_is_served_when_the_write_returns(backend) -> None:
    """What the proxy serves is what was asked for, at once."""
    deployed = await backend.deploy()
    shifted = await backend.move(deployed.split.with_canary(backend.revision, 10))
    assert shifted.served == shifted.split
    assert await backend.world.served() == {
        "ethixai-backend": {STABLE: 90, backend.revision: 10},
        "ethixai-frontend": {"ethixai-frontend-00031-xyz": 100},
    }


async def test_a_service_is_stopped_and_started_by_its_scaling(backend) -> None:
    """A fixed count of 0 is sent as 0, and no revision is made."""
    found = await backend.now()
    stopped = await backend.cloud_run.write(found, Change(record=RECORD, scaling=Scaling(manual=0)))
    assert stopped.scaling.manual == 0
    want = Scaling(min_instances=1, max_instances=3)
    started = await backend.cloud_run.write(stopped, Change(record=RECORD, scaling=want))
    assert started.scaling == want
    assert [write["mask"] for write in await backend.world.writes()] == [["annotations", "scaling"]] * 2
    assert len(await backend.cloud_run.revisions("ethixai-backend")) == 1


async def test_revisions_come_newest_first(backend) -> None:
    """The list begins with the revision that was made last."""
    await backend.deploy()
    found = await backend.cloud_run.revisions("ethixai-backend")
    assert [revision.name for revision in found] == [backend.revision, STABLE]


async def test_a_write_under_an_old_etag_is_a_conflict_and_changes_nothing(backend) -> None:
    """Somebody wrote in between: ours is not applied."""
    old = await backend.now()
    await backend.move(TrafficSplit.all_to(STABLE))
    with pytest.raises(Conflict, match="ethixai-backend"):
        await backend.cloud_run.write(old, Change(record=Record(epoch=9), split=TrafficSplit.all_to(STABLE)))
    assert Record.read(await backend.now()).epoch == 1


async def test_a_lost_reply_is_not_known_and_found_out_by_reading(backend) -> None:
    """The write took effect and its reply was lost: Transient, one update, and a read shows it."""
    await backend.world.fault("Services.UpdateService", applied=True)
    with pytest.raises(Transient, match="ethixai-backend"):
        await backend.move(TrafficSplit.all_to(STABLE))
    assert Record.read(await backend.now()) == RECORD
    assert len(await backend.world.writes()) == 1


async def test_a_revision_that_does_not_start_says_why_and_moves_nobody(backend) -> None:
    """The container's own reason is in the error, and users stay where they were."""
    with pytest.raises(StartFailed, match="failed to start"):
        await backend.deploy("dies")
    found = await backend.now()
    assert found.served is not None
    assert found.served.percent == {STABLE: 100}
    revision = await backend.cloud_run.revision("ethixai-backend", backend.revision)
    assert not revision.is_ready
    assert "failed to start" in revision.reason


async def test_an_image_that_does_not_exist_is_a_failed_start(backend) -> None:
    """Cloud Run finds out while the operation runs."""
    missing = f"ghcr.io/geoaziz/ethixai-backend@sha256:{'0' * 64}"
    with pytest.raises(StartFailed, match="not found"):
        await backend.cloud_run.write(*await backend.deployment(missing))


async def test_traffic_moves_although_the_newest_revision_is_broken(backend) -> None:
    """After a failed deployment Ready may stay false: what is served decides whether a revert worked."""
    await backend.world.turn(ready_stays_false=True)
    with pytest.raises(StartFailed):
        await backend.deploy("dies")
    assert (await backend.move(TrafficSplit.all_to(STABLE))).served == TrafficSplit.all_to(STABLE)


async def test_a_revision_name_is_used_once(backend) -> None:
    """Deploying another image under a name that is taken is a Conflict: the caller reads what is there."""
    await backend.deploy()
    found = await backend.now()
    digest = await backend.world.publish("ghcr.io/geoaziz/ethixai-backend", "other", {})
    change = (await backend.deployment(f"ghcr.io/geoaziz/ethixai-backend@{digest}"))[1]
    with pytest.raises(Conflict, match="already exists"):
        await backend.cloud_run.write(found, change)


async def test_traffic_to_an_unknown_revision_is_refused(backend) -> None:
    """It comes back from the operation as an internal error, which asking again would not mend."""
    with pytest.raises(Refused, match="does not exist"):
        await backend.move(TrafficSplit.all_to("ethixai-backend-nowhere"))


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("UNAVAILABLE", Transient),
        ("DEADLINE_EXCEEDED", Transient),
        ("RESOURCE_EXHAUSTED", Transient),
        ("INTERNAL", Transient),
        ("ABORTED", Transient),
        ("PERMISSION_DENIED", Refused),
        ("INVALID_ARGUMENT", Refused),
        ("UNAUTHENTICATED", Refused),
    ],
)
async def test_a_failing_call_is_not_repeated_and_becomes_ours(backend, code: str, ours: type[ReleaseError]) -> None:
    """One call reaches Google, and its code decides what the caller does next; the service is named."""
    await backend.world.fault("Services.GetService", code=code, count=1)
    with pytest.raises(ours, match="ethixai-backend") as raised:
        await backend.now()
    assert type(raised.value) is ours
    assert raised.value.__cause__ is not None
    await backend.now()


async def test_a_hanging_call_ends_at_the_timeout(backend, whole_world: RemoteWorld) -> None:
    """No answer at all becomes Transient."""
    hasty = CloudRun(
        project="ethixai-production", region="us-east1", api_endpoint=whole_world.grpc_endpoint, read_timeout_s=0.5
    )
    await backend.world.fault("Services.GetService", hang=True)
    with pytest.raises(Transient, match="ethixai-backend"):
        await hasty.snapshot("ethixai-backend")


async def test_a_write_that_is_not_served_in_time_is_not_known(backend, whole_world: RemoteWorld) -> None:
    """At the write timeout the caller hears that the outcome is open, and nothing is written twice."""
    hasty = CloudRun(
        project="ethixai-production", region="us-east1", api_endpoint=whole_world.grpc_endpoint, write_timeout_s=0.3
    )
    await backend.world.turn(reconcile_delay_s=2.0)
    found = await backend.now()
    with pytest.raises(Transient, match="ethixai-backend"):
        await hasty.write(found, Change(record=RECORD, split=found.pinned))
    assert len(await backend.world.writes()) == 1


async def test_an_endpoint_that_cannot_wait_is_polled(backend) -> None:
    """WaitOperation answers UNIMPLEMENTED, and the write ends well all the same."""
    await backend.world.fault("Operations.WaitOperation", code="UNIMPLEMENTED", count=None)
    assert (await backend.deploy()).latest_ready == backend.revision


async def test_an_unknown_service_names_project_region_and_service(backend) -> None:
    """What to correct is in the sentence."""
    with pytest.raises(Refused, match="ethixai-production/locations/us-east1/services/ethixai-nothing"):
        await backend.cloud_run.snapshot("ethixai-nothing")


async def test_somebody_who_may_not_write_hears_which_permission(backend) -> None:
    """The flight check writes nothing, and says what to grant."""
    await backend.cloud_run.can_write("ethixai-backend")
    await backend.world.deny("*", "Services.UpdateService")
    with pytest.raises(Refused, match=r"run\.services\.update"):
        await backend.cloud_run.can_write("ethixai-backend")
    assert not [write for write in await backend.world.writes() if write["applied"]]


def test_one_block_serves_several_loops(world: RemoteWorld) -> None:
    """A gRPC channel belongs to its loop: in a later loop the block makes another."""
    block = CloudRun(project="ethixai-production", region="us-east1", api_endpoint=world.grpc_endpoint)
    for _ in range(2):
        assert asyncio.run(block.snapshot("ethixai-backend")).service == "ethixai-backend"
