"""Ordered faults: code, count, every k-th, delay, hanging, and a reply that is lost after the effect."""

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
