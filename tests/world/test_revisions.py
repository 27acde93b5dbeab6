"""Revisions: how they start, fail, retire, are deleted, and what a failed one leaves behind."""

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

V2 = "ethixai-backend-v2"
FAILED = run_v2.Condition.State.CONDITION_FAILED
SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED


async def conditions(cloud, revision: str) -> dict[str, run_v2.Condition]:
    """The conditions of a revision of the backend by type."""
    found = await cloud.revisions.get_revision(name=f"{cloud.name}/revisions/{revision}", timeout=10)
    return {condition.type_: condition for condition in found.conditions}


@pytest.mark.parametrize("behaviour", ["dies", "never_ready"])
async def test_a_revision_that_does_not_start_changes_nothing_that_is_served(cloud, behaviour):
    """The operation ends with code 9; template is the bad one, statuses and latest_ready are those of before."""
    await cloud.world.turn(startup_timeout_s=1.0)
    before = await cloud.get()
    operation = await cloud.deploy(V2, behaviour)
    assert operation.error.code == 9
    assert operation.error.message.startswith(f"Revision '{V2}' is not ready and cannot serve traffic.")
    after = await cloud.get()
    assert after.template.revision == V2
    assert after.latest_created_revision.endswith(V2)
    assert after.latest_ready_revision == before.latest_ready_revision
    assert after.traffic_statuses == before.traffic_statuses
    assert after.observed_generation == before.observed_generation
    assert after.terminal_condition.state == FAILED
    assert await cloud.served() == {cloud.STABLE: 100}
    assert (await conditions(cloud, V2))["Ready"].state == FAILED
    unhealthy = (await conditions(cloud, V2))["ContainerHealthy"]
    assert unhealthy.revision_reason == run_v2.Condition.RevisionReason.HEALTH_CHECK_CONTAINER_ERROR


async def test_an_image_that_does_not_exist_fails_in_the_operation(cloud):
    """Code 5, CONTAINER_MISSING, and the stable revision serves on."""
    service = await cloud.get()
    service.template.containers[0].image = f"{cloud.REPOSITORY}@sha256:{'0' * 64}"
    service.template.revision = V2
    operation = await cloud.update(service, "template")
    assert operation.error.code == 5
    assert (await cloud.get()).terminal_condition.reason == run_v2.Condition.CommonReason.CONTAINER_MISSING
    assert await cloud.served() == {cloud.STABLE: 100}


async def test_traffic_can_be_moved_after_a_failed_deploy(cloud):
    """A traffic-only update on a service with a bad template succeeds, and Ready is true again."""
    await cloud.deploy(V2, "dies")
    operation = await cloud.shift(cloud.target(cloud.STABLE, 100))
    assert not operation.HasField("error")
    after = await cloud.get()
    assert after.terminal_condition.state == SUCCEEDED
    assert after.template.revision == V2
    assert [t.revision for t in after.traffic_statuses] == [cloud.STABLE]


async def test_ready_can_stay_false_after_a_failed_deploy(cloud):
    """With the knob turned the same update is served, yet its operation fails and Ready stays False."""
    await cloud.world.turn(ready_stays_false=True)
    await cloud.deploy(V2, "dies")
    operation = await cloud.shift(cloud.target(cloud.STABLE, 100))
    assert operation.error.code == 9
    after = await cloud.get()
    assert after.terminal_condition.state == FAILED
    assert [t.revision for t in after.traffic_statuses] == [cloud.STABLE]
    assert after.observed_generation == after.generation


async def test_traffic_cannot_go_to_a_revision_that_failed(cloud):
    """Naming it in traffic fails in the operation with code 9."""
    await cloud.deploy(V2, "dies")
    operation = await cloud.shift(cloud.target(cloud.STABLE, 90), cloud.target(V2, 10))
    assert operation.error.code == 9
    assert await cloud.served() == {cloud.STABLE: 100}


async def test_a_deploy_whose_traffic_cannot_be_served_leaves_nothing_running(cloud):
    """The new revision is ready, its traffic names an unknown one: code 13, and its instance is stopped again."""
    operation = await cloud.deploy(V2, traffic=[cloud.target("ethixai-backend-nowhere", 100)])
    assert operation.error.code == 13

    async def is_stopped() -> bool:
        return (await cloud.world.service("ethixai-backend"))["revisions"][V2]["instances"] == []

    await cloud.until(is_stopped)
    assert await cloud.served() == {cloud.STABLE: 100}


async def test_the_next_deploy_heals_a_failed_one(cloud):
    """A good revision after a bad one is ready and is what latest_ready names."""
    await cloud.deploy(V2, "dies")
    operation = await cloud.deploy("ethixai-backend-v3")
    assert not operation.HasField("error")
    after = await cloud.get()
    assert after.terminal_condition.state == SUCCEEDED
    assert after.latest_ready_revision.endswith("-v3")


async def test_a_revision_that_nothing_reaches_retires_and_its_process_ends(cloud):
    """Neither percent nor tag: Active is RETIRED and the instance is gone; a tag alone keeps it."""
    await cloud.deploy(V2)
    assert (await conditions(cloud, V2))["Active"].state == SUCCEEDED
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    active = (await conditions(cloud, V2))["Active"]
    assert active.state == FAILED
    assert active.revision_reason == run_v2.Condition.RevisionReason.RETIRED
    revisions = (await cloud.world.service("ethixai-backend"))["revisions"]
    assert revisions[V2]["instances"] == []
    assert len(revisions[cloud.STABLE]["instances"]) == 1


async def test_a_retired_revision_serves_again(cloud):
    """Traffic back to a retired revision starts its instances before it gets a request."""
    await cloud.deploy(V2)
    await cloud.shift(cloud.target(V2, 100))
    operation = await cloud.shift(cloud.target(cloud.STABLE, 100))
    assert not operation.HasField("error")
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get((await cloud.get()).uri + "/health/readiness")
    assert answer.headers["x-rehearsal-revision"] == cloud.STABLE


async def test_only_a_retired_revision_can_be_deleted(cloud):
    """FAILED_PRECONDITION while a tag reaches it; gone afterwards, and NOT_FOUND."""
    await cloud.deploy(V2)
    name = f"{cloud.name}/revisions/{V2}"
    with pytest.raises(exceptions.FailedPrecondition, match="retired"):
        await cloud.revisions.delete_revision(name=name, timeout=10)
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    deleted = await cloud.revisions.delete_revision(name=name, timeout=10)
    assert (await cloud.ended(deleted.operation)).done
    with pytest.raises(exceptions.NotFound):
        await cloud.revisions.get_revision(name=name, timeout=10)


async def test_revisions_are_listed_newest_first_in_pages(cloud):
    """Two revisions, one a page."""
    await cloud.deploy(V2)
    pager = await cloud.revisions.list_revisions(request={"parent": cloud.name, "page_size": 1}, timeout=10)
    assert [revision.name.rpartition("/")[2] async for revision in pager] == [V2, cloud.STABLE]


async def test_the_templates_env_wins_over_the_images(cloud):
    """An image that dies is healthy when the template says so."""
    digest = await cloud.world.publish(cloud.REPOSITORY, "x", {"BEHAVIOUR": "dies"})
    service = await cloud.get()
    service.template.containers[0].image = f"{cloud.REPOSITORY}@{digest}"
    service.template.containers[0].env = [run_v2.EnvVar(name="BEHAVIOUR", value="healthy")]
    service.template.revision = V2
    assert not (await cloud.update(service, "template")).HasField("error")


async def test_an_instance_out_of_memory_is_killed_told_of_and_replaced(cloud):
    """Its log says so in Cloud Run's words, and it serves again under a new instance id."""
    digest = await cloud.world.publish(cloud.REPOSITORY, "leak", {"BEHAVIOUR": "leak=400"})
    service = await cloud.get()
    service.template.containers[0].image = f"{cloud.REPOSITORY}@{digest}"
    service.template.containers[0].resources.limits["memory"] = "128Mi"
    service.template.revision = V2
    service.traffic = [cloud.target(cloud.STABLE, 100), cloud.target(V2, 0, "canary")]
    await cloud.update(service, "template", "traffic")
    system = f'resource.labels.revision_name="{V2}" AND logName:"varlog%2Fsystem" AND severity>=ERROR'
    request = {"resource_names": ["projects/ethixai-production"], "filter": system}

    async def told() -> list[str]:
        return [entry.text_payload async for entry in await cloud.logging.list_log_entries(request=request)]

    async def restarts() -> int:
        revisions = (await cloud.world.service("ethixai-backend"))["revisions"]
        return revisions[V2]["instances"][0]["restarts"]

    text = (await cloud.until(told))[0]
    assert text.startswith("Memory limit of 128 MiB exceeded with ")
    assert "Consider increasing the memory limit" in text
    assert await cloud.until(restarts)


async def test_a_hand_may_deploy_a_revision_that_gets_nobody(cloud):
    """As gcloud's --no-traffic: it is ready and of the same template, and all users stay where they are."""
    digest = await cloud.world.publish(cloud.REPOSITORY, "maintenance", {"BEHAVIOUR": "read_only"})
    stays = [{"revision": cloud.STABLE, "percent": 100}]
    deploy = {"revision": V2, "image": f"{cloud.REPOSITORY}@{digest}"}
    await cloud.world.out_of_band(cloud.name, stays, deploy=deploy)
    service = await cloud.get()
    assert service.latest_ready_revision.endswith(V2)
    assert service.template.containers[0].env[0].name == "APP_ENV"
    assert await cloud.served() == {cloud.STABLE: 100}
