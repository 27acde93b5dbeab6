"""CloudRun against the stand-in: what it reads, what it writes, and what it says when it cannot."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from blocks import CloudRun, EthixAI
from blocks.cloud_run_rest import error_of
from playbook.errors import Conflict, Gone, Refused, ReleaseError, SmokeFailed, StartFailed, Transient
from playbook.lease.change import Change
from playbook.lease.record import PREFIX, Record
from playbook.release.traffic import LATEST, Scaling, TrafficSplit
from playbook.release.version import SmokeTest
from rehearsal.world.remote import RemoteWorld

STABLE = "ethixai-backend-00041-xyz"
RECORD = Record(epoch=1)


def cloud_run(world: RemoteWorld, **settings: float) -> CloudRun:
    """The block, with other settings."""
    return CloudRun(
        project="ethixai-production",
        region="us-east1",
        api_endpoint=world.grpc_endpoint,
        api_url=world.rest_url,
        **settings,
    )


def parts(write: Mapping[str, Any]) -> list[str]:
    """The parts of the service that a write changed. (The world fills in the ingress at the first write.)"""
    return sorted(set(write["mask"]) - {"ingress"})


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
    """Traffic and record go in one update; nothing else differs, and the answer shows both in effect."""
    found = await backend.now()
    written = await backend.cloud_run.write(found, Change(record=RECORD, split=found.pinned))
    assert written.served == written.split == TrafficSplit.all_to(STABLE)
    assert Record.read(written) == RECORD
    (write,) = await backend.world.writes()
    assert parts(write) == ["annotations", "traffic"]
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
    assert parts(write) == ["annotations", "template", "traffic"]


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
    assert [parts(write) for write in await backend.world.writes()] == [["annotations", "scaling"], ["scaling"]]
    assert len(await backend.cloud_run.revisions("ethixai-backend")) == 1


async def test_revisions_come_newest_first(backend) -> None:
    """The list begins with the revision that was made last."""
    await backend.deploy()
    found = await backend.cloud_run.revisions("ethixai-backend")
    assert [revision.name for revision in found] == [backend.revision, STABLE]


async def test_a_write_under_an_old_version_is_a_conflict_and_changes_nothing(backend) -> None:
    """Another client wrote in between: ours is not applied."""
    old = await backend.now()
    await backend.move(TrafficSplit.all_to(STABLE))
    with pytest.raises(Conflict, match="ethixai-backend"):
        await backend.cloud_run.write(old, Change(record=Record(epoch=9), split=TrafficSplit.all_to(STABLE)))
    assert Record.read(await backend.now()).epoch == 1


async def test_a_lost_reply_is_not_known_and_found_out_by_reading(backend) -> None:
    """The write took effect and its reply was lost: Transient, one update, and a read shows it."""
    await backend.world.fault("Services.ReplaceService", applied=True)
    with pytest.raises(Transient, match="ethixai-backend"):
        await backend.move(TrafficSplit.all_to(STABLE))
    assert Record.read(await backend.now()) == RECORD
    assert len(await backend.world.writes()) == 1


async def test_a_revision_that_does_not_start_says_why_and_gets_no_traffic(backend) -> None:
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
    await backend.now()


async def test_a_hanging_call_ends_at_the_timeout(backend, whole_world: RemoteWorld) -> None:
    """No answer at all becomes Transient."""
    hasty = cloud_run(whole_world, read_timeout_s=0.5)
    await backend.world.fault("Services.GetService", hang=True)
    with pytest.raises(Transient, match="ethixai-backend"):
        await hasty.snapshot("ethixai-backend")


async def test_a_write_that_is_not_served_in_time_is_not_known(backend, whole_world: RemoteWorld) -> None:
    """At the write timeout the caller hears that the outcome is open, and nothing is written twice."""
    hasty = cloud_run(whole_world, write_timeout_s=0.3)
    found = await backend.deploy()
    await backend.world.turn(reconcile_delay_s=4.0)
    with pytest.raises(Transient, match="ethixai-backend"):
        await hasty.write(found, Change(record=RECORD, split=found.split.with_canary(backend.revision, 10)))
    assert len(await backend.world.writes()) == 2


async def test_an_endpoint_that_cannot_wait_is_polled(backend) -> None:
    """WaitOperation answers UNIMPLEMENTED, and the write ends well all the same."""
    await backend.world.fault("Operations.WaitOperation", code="UNIMPLEMENTED", count=None)
    assert (await backend.deploy()).latest_ready == backend.revision


async def test_an_unknown_service_names_project_region_and_service(backend) -> None:
    """What to correct is in the sentence."""
    with pytest.raises(Gone, match="ethixai-production/locations/us-east1/services/ethixai-nothing"):
        await backend.cloud_run.snapshot("ethixai-nothing")


async def test_a_refused_write_names_the_missing_permission(backend) -> None:
    """The flight check writes nothing, and says what to grant."""
    await backend.cloud_run.can_write("ethixai-backend")
    await backend.world.deny("*", "run.services.update")
    with pytest.raises(Refused, match=r"run\.services\.update"):
        await backend.cloud_run.can_write("ethixai-backend")
    with pytest.raises(Refused, match=r"Grant run\.services\.update"):
        await backend.move(TrafficSplit.all_to(STABLE))
    assert not [write for write in await backend.world.writes() if write["applied"]]


def test_one_block_serves_several_loops(world: RemoteWorld) -> None:
    """A gRPC channel belongs to its loop: in a later loop the block makes another."""
    block = cloud_run(world)
    for _ in range(2):
        assert asyncio.run(block.snapshot("ethixai-backend")).service == "ethixai-backend"


async def test_a_write_whose_operation_never_ends_is_served_and_says_so(backend) -> None:
    """The traffic is observed as wanted, so the release goes on; "still reconciling" is in the answer (C11)."""
    deployed = await backend.deploy()
    await backend.world.fault("Services.ReplaceService", operation="NEVER")
    shifted = await backend.move(deployed.split.with_canary(backend.revision, 10))
    assert shifted.served == shifted.split
    assert shifted.is_reconciling
    assert not shifted.is_under_way
    assert shifted.serves(shifted.split)


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("INVALID_ARGUMENT", Refused),
        ("PERMISSION_DENIED", Refused),
        ("FAILED_PRECONDITION", Refused),
        ("INTERNAL", Transient),
        ("UNAVAILABLE", Transient),
        ("ABORTED", Conflict),
    ],
)
async def test_a_write_that_is_accepted_and_then_fails_says_why(backend, code: str, ours: type[ReleaseError]) -> None:
    """The operation ends in error: Google's own words are told, and users are where they were (C6)."""
    deployed = await backend.deploy()
    await backend.world.fault("Services.ReplaceService", operation=code, message="quota of region us-east1 exceeded")
    with pytest.raises(ours, match="quota of region us-east1 exceeded") as raised:
        await backend.move(deployed.split.with_canary(backend.revision, 10))
    assert type(raised.value) is ours
    assert (await backend.now()).served == deployed.served


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "INTERNAL"])
async def test_a_deployment_that_is_accepted_and_then_fails_did_not_start(backend, code: str) -> None:
    """actAs, a bad manifest, quota, "Container import failed": each ends the deployment, with Google's words (C5)."""
    await backend.world.fault("Services.ReplaceService", operation=code, message="Container import failed")
    with pytest.raises(StartFailed, match="Container import failed"):
        await backend.deploy()


@pytest.mark.parametrize(
    ("code", "ours"),
    [
        ("INVALID_ARGUMENT", Refused),
        ("FAILED_PRECONDITION", Refused),
        ("PERMISSION_DENIED", Refused),
        ("UNAUTHENTICATED", Refused),
        ("NOT_FOUND", Gone),
        ("UNIMPLEMENTED", Refused),
        ("ABORTED", Conflict),
        ("ALREADY_EXISTS", Conflict),
        ("RESOURCE_EXHAUSTED", Transient),
        ("INTERNAL", Transient),
        ("UNKNOWN", Transient),
        ("UNAVAILABLE", Transient),
        ("DEADLINE_EXCEEDED", Transient),
        ("CANCELLED", Transient),
    ],
)
async def test_a_write_that_is_refused_at_once_says_why(backend, code: str, ours: type[ReleaseError]) -> None:
    """Google's words are in the message; after a Transient it says that what became of the write is not known."""
    await backend.world.fault("Services.ReplaceService", code=code, message="the vendor's own words")
    with pytest.raises(ours, match="the vendor's own words") as raised:
        await backend.move(TrafficSplit.all_to(STABLE))
    assert type(raised.value) is ours
    assert ("not known" in str(raised.value)) == (ours is Transient)


async def test_a_stale_write_over_v2_does_not_touch_what_v1_decided(backend) -> None:
    """v2 accepts a stale etag here, as it did in the live test; a write of ours rests on v1's version alone (C12)."""
    old = await backend.now()
    await backend.world.out_of_band(backend.world.find("ethixai-backend"), annotations={"team": "platform"})
    with pytest.raises(Conflict, match="version"):
        await backend.cloud_run.write(old, Change(record=RECORD, split=old.pinned))


@pytest.mark.parametrize("is_read", [False, True], ids=["of what was written", "of a mere read"])
async def test_conditional_writes_are_enforced_here(backend, is_read: bool) -> None:
    """The same object under the version before is refused, and nothing is changed."""
    written = await backend.move(TrafficSplit.all_to(STABLE))
    found = await backend.now() if is_read else written
    await backend.cloud_run.check_conditional_writes(found)
    writes = await backend.world.writes()
    assert [write["code"] for write in writes] == ["OK", *(["OK"] if is_read else []), "ABORTED"]
    assert (await backend.now()).split == written.split
    assert Record.read(await backend.now()) == RECORD


@pytest.mark.parametrize("is_read", [False, True], ids=["of what was written", "of a mere read"])
async def test_a_project_that_takes_stale_writes_is_refused(backend, is_read: bool) -> None:
    """The world's switch turns the version off: one sentence says that leases cannot hold here."""
    written = await backend.move(TrafficSplit.all_to(STABLE))
    await backend.world.turn(enforce_resource_version=False)
    with pytest.raises(Refused, match="conditional writes are not enforced here"):
        await backend.cloud_run.check_conditional_writes(await backend.now() if is_read else written)


async def test_a_service_without_its_default_url_says_how_to_mend_it(backend) -> None:
    """Its tags have no URL either: one sentence, before anything is taken (C9)."""
    assert (await backend.now()).unreachable() == ""
    await backend.world.front(backend.world.find("ethixai-backend"), is_url_disabled=True)
    found = await backend.now()
    assert found.uri == ""
    assert "--default-url" in found.unreachable()


async def test_an_internal_service_says_that_it_cannot_be_reached(backend) -> None:
    """Its URLs answer 404 to callers from outside."""
    await backend.world.front(backend.world.find("ethixai-backend"), is_internal=True)
    found = await backend.now()
    assert found.ingress == "internal"
    assert "ingress: internal" in found.unreachable()


async def test_a_private_service_is_tested_with_an_id_token(backend) -> None:
    """Its tag's URL takes the service's audience; without a token the release is refused in one sentence (C10)."""
    deployed = await backend.deploy()
    await backend.world.front(backend.world.find("ethixai-backend"), is_private=True)
    plain, signed = EthixAI(poll_interval_s=0.2), EthixAI(poll_interval_s=0.2, id_tokens=True)
    assert "id_tokens = true" in await plain.unreachable(deployed.uri)
    assert await signed.unreachable(deployed.uri) == ""
    for test in (SmokeTest.HEALTH, SmokeTest.AUTH):
        with pytest.raises(SmokeFailed, match="403"):
            await plain.run(test, deployed.tag_urls["canary"], deployed.uri)
        assert await signed.run(test, deployed.tag_urls["canary"], deployed.uri)
    assert await plain.unreachable(backend.world.url("ethixai-frontend")) == ""


@pytest.mark.parametrize(
    ("body", "is_gone"),
    [({"error": {"code": 404, "status": "NOT_FOUND", "message": "Resource was not found."}}, True), ("<html>", False)],
    ids=["Google's word", "a page of something between"],
)
def test_a_service_is_gone_only_by_googles_own_word(body: Any, is_gone: bool) -> None:
    """A release's lease goes with its service; a proxy that knows no such page says nothing about that."""
    content = {"text": body} if isinstance(body, str) else {"json": body}
    error = error_of(
        httpx.Response(404, **content), "Cloud Run, asked for service a", "run.services.get", is_write=False
    )
    assert isinstance(error, Refused)
    assert isinstance(error, Gone) is is_gone
