"""Instances: how many run, and what scaling to nothing does."""

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

V2 = "ethixai-backend-v2"
AUTOMATIC = run_v2.ServiceScaling.ScalingMode.AUTOMATIC
MANUAL = run_v2.ServiceScaling.ScalingMode.MANUAL


async def scale(cloud, **scaling):
    """Update the backend's scaling alone."""
    return await cloud.update(run_v2.Service(name=cloud.name, scaling=scaling), "scaling")


async def instances(cloud) -> dict[str, int]:
    """How many instances each revision of the backend has."""
    revisions = (await cloud.world.service("ethixai-backend"))["revisions"]
    return {name: len(revision["instances"]) for name, revision in revisions.items()}


async def status(url: str) -> int:
    """The status of GET ``url``."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return (await http.get(url + "/health/readiness")).status_code


async def test_the_services_minimum_is_divided_by_percent(cloud):
    """Four at least: 90 % gets four (rounded up), 10 % one; no revision is made by it."""
    await cloud.deploy(V2)
    await cloud.shift(cloud.target(cloud.STABLE, 90), cloud.target(V2, 10, "canary"))
    created = (await cloud.get()).latest_created_revision
    await scale(cloud, min_instance_count=4, max_instance_count=9)
    assert await instances(cloud) == {cloud.STABLE: 4, V2: 1}
    assert (await cloud.get()).latest_created_revision == created
    await scale(cloud)
    assert await instances(cloud) == {cloud.STABLE: 1, V2: 1}


async def test_several_instances_share_their_revisions_percent(cloud):
    """Three instances of the stable revision and one canary: the canary still gets its tenth."""
    await cloud.deploy(V2)
    await scale(cloud, min_instance_count=3)
    await cloud.shift(cloud.target(cloud.STABLE, 90), cloud.target(V2, 10, "canary"))
    url = (await cloud.get()).uri
    async with httpx.AsyncClient(trust_env=False) as http:
        answers = [await http.get(url + "/health/readiness") for _ in range(1000)]
    canary = sum(answer.headers["x-rehearsal-revision"] == V2 for answer in answers)
    assert 52 <= canary <= 148


async def test_manual_scaling_to_nothing_answers_503_and_keeps_tags(cloud):
    """The service's URL is 503, a revision with a tag and no percent still answers; minimum and maximum are unset."""
    await cloud.deploy(V2)
    await scale(cloud, min_instance_count=1, max_instance_count=5)
    operation = await scale(cloud, scaling_mode=MANUAL, manual_instance_count=0)
    assert not operation.HasField("error")
    service = await cloud.get()
    assert (service.scaling.min_instance_count, service.scaling.max_instance_count) == (0, 0)
    assert await status(service.uri) == 503
    assert await status(service.traffic_statuses[1].uri) == 200
    assert (await instances(cloud))[cloud.STABLE] == 0


async def test_manual_scaling_is_undone_by_automatic(cloud):
    """With minimum and maximum together, or neither; only one of them is refused."""
    await scale(cloud, scaling_mode=MANUAL, manual_instance_count=0)
    with pytest.raises(exceptions.InvalidArgument, match="together"):
        await scale(cloud, scaling_mode=AUTOMATIC, min_instance_count=2)
    await scale(cloud, scaling_mode=AUTOMATIC, min_instance_count=2, max_instance_count=5)
    assert await instances(cloud) == {cloud.STABLE: 2}
    assert await status((await cloud.get()).uri) == 200


async def test_a_deploy_while_scaled_to_nothing_skips_the_health_check(cloud):
    """Its revision is ready without an instance, for the reason the API has for it."""
    await scale(cloud, scaling_mode=MANUAL, manual_instance_count=0)
    operation = await cloud.deploy(V2, traffic=[cloud.target(V2, 100)])
    assert not operation.HasField("error")
    revision = await cloud.revisions.get_revision(name=f"{cloud.name}/revisions/{V2}", timeout=10)
    healthy = next(condition for condition in revision.conditions if condition.type_ == "ContainerHealthy")
    assert healthy.revision_reason == run_v2.Condition.RevisionReason.HEALTH_CHECK_SKIPPED
    assert (await instances(cloud))[V2] == 0


async def test_manual_needs_its_count(cloud):
    """MANUAL without manual_instance_count is INVALID_ARGUMENT."""
    with pytest.raises(exceptions.InvalidArgument, match="manual_instance_count"):
        await scale(cloud, scaling_mode=MANUAL)


async def test_prometheus_scrapes_the_instances_that_there_are(cloud):
    """A new revision's series appear with job, service, revision and project."""
    await cloud.deploy(V2)
    query = {"query": f'up{{revision="{V2}"}}'}

    async def found() -> list[dict]:
        async with httpx.AsyncClient(trust_env=False, base_url=cloud.world.prometheus_url) as http:
            return (await http.get("/api/v1/query", params=query)).json()["data"]["result"]

    labels = (await cloud.until(found))[0]["metric"]
    assert (labels["job"], labels["service"], labels["project"]) == ("backend", "ethixai-backend", "ethixai-production")
