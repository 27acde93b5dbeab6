"""Writes that go wrong on the vendor's side, over v1 and v2: at once, in the operation, or never ending."""

import pytest
from google.api_core import exceptions
from google.cloud import run_v2

from rehearsal.world.remote import WorldError
from tests.world.v1_client import V1

V2 = "ethixai-backend-v2"
IMPORT = "Container import failed"


@pytest.mark.parametrize(
    ("code", "status"), [("INVALID_ARGUMENT", 400), ("FAILED_PRECONDITION", 400), ("INTERNAL", 500)]
)
async def test_a_write_is_refused_at_once(v1: V1, code: str, status: int) -> None:
    """Google's word and status over v1, the same over v2; nothing is changed."""
    await v1.world.fault("Services.ReplaceService", code, message=IMPORT)
    await v1.world.fault("Services.UpdateService", code, message=IMPORT)
    before = await v1.service()
    answer = await v1.send("PUT", v1.path, before)
    assert (answer.status_code, answer.json()["error"]["status"]) == (status, code)
    assert answer.json()["error"]["message"] == IMPORT
    with pytest.raises(exceptions.GoogleAPICallError, match=IMPORT):
        await v1.cloud.shift(v1.cloud.target(v1.cloud.STABLE, 100))
    assert await v1.service() == before


@pytest.mark.parametrize(("code", "number"), [("INVALID_ARGUMENT", 3), ("FAILED_PRECONDITION", 9), ("INTERNAL", 13)])
async def test_a_write_is_accepted_and_then_fails(v1: V1, code: str, number: int) -> None:
    """The object is what was sent, its operation ends with the error, and what was served goes on."""
    await v1.cloud.deploy(V2)
    await v1.world.fault("Services.ReplaceService", operation=code, message=IMPORT)
    read = await v1.service()
    read["spec"]["traffic"] = [{"revisionName": V2, "percent": 100}]
    operation = await v1.wait(await v1.put(read))
    assert operation["error"] == {"code": number, "message": IMPORT}
    after = await v1.service()
    assert after["spec"]["traffic"] == [{"revisionName": V2, "percent": 100}]
    assert (after["status"]["conditions"][0]["status"], after["status"]["conditions"][0]["message"]) == (
        "False",
        IMPORT,
    )
    assert await v1.cloud.served() == {v1.cloud.STABLE: 100}
    assert (await v1.world.writes())[-1]["result"] == f"error {number}"


async def test_a_new_revision_fails_with_its_write(v1: V1) -> None:
    """Over v2: the revision is there, and never ready."""
    await v1.world.fault("Services.UpdateService", operation="INTERNAL", message=IMPORT)
    operation = await v1.cloud.deploy(V2)
    assert (operation.error.code, operation.error.message) == (13, IMPORT)
    made = (await v1.revisions())[0]
    assert made["metadata"]["name"] == V2
    ready = made["status"]["conditions"][0]
    assert (ready["type"], ready["status"], ready["message"]) == ("Ready", "False", IMPORT)


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_an_operation_never_ends_although_its_traffic_is_served(v1: V1, api: str) -> None:
    """Ready is unknown and the service reconciles; the next write ends that."""
    await v1.cloud.deploy(V2)
    await v1.world.fault("Services.ReplaceService", operation="NEVER")
    await v1.world.fault("Services.UpdateService", operation="NEVER")
    if api == "v1":
        read = await v1.service()
        read["spec"]["traffic"] = [{"revisionName": V2, "percent": 100}]
        operation = await v1.wait(await v1.put(read), timeout="1s")
        assert not operation["done"]
    else:
        shift = run_v2.Service(name=v1.cloud.name, traffic=[v1.cloud.target(V2, 100)])
        request = run_v2.UpdateServiceRequest(service=shift, update_mask={"paths": ["traffic"]})
        name = (await v1.cloud.services.update_service(request=request)).operation.name
        assert not (await v1.cloud.wait(name, 1)).done
    assert await v1.cloud.served() == {V2: 100}
    after = await v1.service()
    assert after["status"]["conditions"][0]["status"] == "Unknown"
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"]
    assert (await v1.cloud.get()).reconciling
    await v1.world.clear_faults()
    await v1.done(await v1.put(await v1.service()))
    assert not (await v1.cloud.get()).reconciling


async def test_a_reply_over_v1_is_lost_after_the_effect(v1: V1) -> None:
    """503 for the caller; the write took effect."""
    await v1.world.fault("Services.ReplaceService", applied=True)
    read = await v1.service()
    read["metadata"]["annotations"]["x.example/a"] = "1"
    assert (await v1.send("PUT", v1.path, read)).status_code == 503
    assert (await v1.service())["metadata"]["annotations"]["x.example/a"] == "1"


async def test_a_permission_is_missing_for_one_service(v1: V1) -> None:
    """With Google's words, over both APIs; the frontend is not concerned."""
    await v1.world.deny("*", "run.services.get", "*/ethixai-backend")
    message = (await v1.send("GET", v1.path)).json()["error"]["message"]
    assert message == (
        f"Permission 'run.services.get' denied on resource '{v1.cloud.name}' (or resource may not exist)."
    )
    with pytest.raises(exceptions.PermissionDenied, match=r"Permission 'run\.services\.get' denied"):
        await v1.cloud.get()
    assert (await v1.send("GET", v1.path.replace("backend", "frontend"))).status_code == 200


async def test_an_end_of_an_operation_that_there_is_not_is_refused(v1: V1) -> None:
    """The switch says what it takes."""
    with pytest.raises(WorldError, match="NEVER"):
        await v1.world.fault("Services.UpdateService", operation="SOMETIMES")
