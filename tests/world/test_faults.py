"""Ordered faults: code, count, every k-th, delay, hanging, and a reply that is lost after the effect."""

import asyncio

import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from rehearsal.world.faults import Fault, Faults
from rehearsal.world.remote import WorldError


def annotate(cloud, value: str):
    """Write one annotation on the backend."""
    return cloud.update(run_v2.Service(name=cloud.name, annotations={"x.example/a": value}), "annotations")


async def test_a_method_fails_as_often_as_ordered(cloud):
    """Two UNAVAILABLE for UpdateService, then it works; nothing was applied by those two."""
    await cloud.world.fault("Services.UpdateService", "UNAVAILABLE", count=2)
    for value in ("1", "2"):
        with pytest.raises(exceptions.ServiceUnavailable):
            await annotate(cloud, value)
    await annotate(cloud, "3")
    writes = [(write["code"], write["applied"]) for write in await cloud.world.writes()]
    assert writes == [("UNAVAILABLE", False), ("UNAVAILABLE", False), ("OK", True)]


async def test_a_reply_is_lost_after_the_effect(cloud):
    """The caller gets UNAVAILABLE, the write happened, and the log of writes says both."""
    await cloud.world.fault("Services.UpdateService", applied=True)
    with pytest.raises(exceptions.ServiceUnavailable):
        await annotate(cloud, "1")
    assert (await cloud.get()).annotations["x.example/a"] == "1"
    write = (await cloud.world.writes())[-1]
    assert (write["code"], write["applied"]) == ("UNAVAILABLE", True)


async def test_the_reply_to_a_refused_call_is_lost_too(cloud):
    """The caller cannot tell it from one that took effect; the log of writes can, and the order is used up."""
    await cloud.world.turn(enforce_etag=True)
    await cloud.world.fault("Services.UpdateService", applied=True)
    stale = run_v2.Service(name=cloud.name, annotations={"x.example/a": "1"}, etag='"stale"')
    with pytest.raises(exceptions.ServiceUnavailable):
        await cloud.update(stale, "annotations")
    (write,) = await cloud.world.writes()
    assert (write["code"], write["applied"]) == ("UNAVAILABLE", False)
    with pytest.raises(exceptions.Aborted):
        await cloud.update(stale, "annotations")


@pytest.mark.parametrize("method", ["Services.UpdateServices", "UpdateService", "Jobs.*"])
async def test_an_order_that_could_never_hit_is_refused(cloud, method):
    """A wrong name would let a test pass in which nothing went wrong; the answer names the methods there are."""
    with pytest.raises(WorldError, match=r"method: .*Services\.UpdateService"):
        await cloud.world.fault(method, "UNAVAILABLE")


async def test_a_method_hangs_until_the_client_gives_up(cloud):
    """DEADLINE_EXCEEDED at the client's own timeout; the next call is answered."""
    await cloud.world.fault("Revisions.GetRevision", hang=True)
    name = f"{cloud.name}/revisions/{cloud.STABLE}"
    with pytest.raises(exceptions.DeadlineExceeded):
        await cloud.revisions.get_revision(name=name, timeout=0.3)
    await cloud.revisions.get_revision(name=name, timeout=10)


async def test_a_fault_can_be_for_one_service_only(cloud):
    """The resource is a pattern: the frontend is served while the backend fails."""
    await cloud.world.fault("Services.GetService", "PERMISSION_DENIED", resource="*/ethixai-backend", count=None)
    with pytest.raises(exceptions.PermissionDenied):
        await cloud.get()
    await cloud.services.get_service(name=cloud.world.find("ethixai-frontend"))
    await cloud.world.clear_faults()
    await cloud.get()


async def test_what_hangs_when_its_client_dies_is_never_done(cloud):
    """The second write is held; its client goes away without a word, and the world stays as it was."""
    await cloud.world.fault("Services.UpdateService", every=2, hang=True)
    await annotate(cloud, "1")
    assert not await cloud.world.fault_met(timeout_s=0)
    doomed = asyncio.create_task(annotate(cloud, "2"))
    assert await cloud.world.fault_met(timeout_s=10)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    await annotate(cloud, "3")
    assert [write["annotations"]["x.example/a"] for write in await cloud.world.writes()] == ["1", "3"]


async def test_what_hangs_after_its_effect_was_done_once(cloud):
    """Its client dies while it waits for the reply; the effect stays, and is in the log of writes."""
    await cloud.world.fault("Services.UpdateService", hang=True, applied=True)
    doomed = asyncio.create_task(annotate(cloud, "1"))
    assert await cloud.world.fault_met(timeout_s=10)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    assert (await cloud.get()).annotations["x.example/a"] == "1"
    assert [(write["code"], write["applied"]) for write in await cloud.world.writes()] == [("OK", True)]


async def test_an_order_may_only_wait_for_its_call(cloud):
    """It is met when the call was answered, and changes nothing about the answer."""
    await cloud.world.fault("Services.GetService", resource="*/ethixai-backend")
    await cloud.services.get_service(name=cloud.world.find("ethixai-frontend"))
    assert not await cloud.world.fault_met(timeout_s=0)
    await cloud.get()
    assert await cloud.world.fault_met(timeout_s=10)


async def test_an_order_that_makes_no_sense_is_refused(cloud):
    """An unknown code or field is an error that names it."""
    with pytest.raises(WorldError, match="BROKEN"):
        await cloud.world.fault("Services.GetService", "BROKEN")
    with pytest.raises(WorldError, match="colour"):
        await cloud.world.fault("Services.GetService", colour="red")


def test_every_kth_call_is_hit_exactly():
    """``every=3`` hits the 3rd, 6th and 9th of ten calls."""
    faults = Faults()
    faults.add(Fault("Services.*", "INTERNAL", count=None, every=3))
    hit = [i for i in range(1, 11) if faults.take("Services.GetService", "x")]
    assert hit == [3, 6, 9]


def test_the_first_order_that_matches_wins():
    """Orders are in a row; one that is used up lets the next one act."""
    faults = Faults()
    faults.add(Fault("Services.GetService", "ABORTED"))
    faults.add(Fault("Services.*", "INTERNAL"))
    codes = [fault.code if (fault := faults.take("Services.GetService", "x")) else "" for _ in range(3)]
    assert codes == ["ABORTED", "INTERNAL", ""]


def test_a_fault_that_is_only_late_has_no_code():
    """A delay alone answers as usual."""
    assert Fault("Services.GetService", delay_s=0.1).status is None
