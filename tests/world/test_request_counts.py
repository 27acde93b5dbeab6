"""Cloud Run's own request counts: what the front saw of each revision, through the world's Prometheus."""

import asyncio
from typing import Any

import httpx
import pytest

from rehearsal.world.request_counts import Counted, RequestCounts

V2 = "ethixai-backend-v2"
NAME = "projects/ethixai-production/locations/us-east1/services/ethixai-backend"


async def counted(cloud: Any, revision: str) -> dict[str, int]:
    """Class of the answer -> requests of the revision, as Prometheus has them."""
    query = f'run_googleapis_com:request_count{{service_name="ethixai-backend",revision_name="{revision}"}}'
    async with httpx.AsyncClient(base_url=cloud.world.prometheus_url, trust_env=False) as http:
        answer = (await http.get("/api/v1/query", params={"query": query})).json()
    return {one["metric"]["response_code_class"]: int(one["value"][1]) for one in answer["data"]["result"]}


async def ask(url: str, count: int) -> list[int]:
    """The statuses of ``count`` requests, one after another."""
    async with httpx.AsyncClient(trust_env=False) as http:
        return [(await http.get(url + "/api/ping")).status_code for _ in range(count)]


@pytest.mark.parametrize(("behaviour", "seen"), [("uncounted=1", 500), ("resets=1", 502)])
async def test_the_front_counts_what_the_application_does_not(cloud, behaviour: str, seen: int) -> None:
    """500s from around the counting, and requests that the instance breaks off: 5xx of that revision alone."""
    await cloud.world.turn(request_count_delay_s=0.0)
    await cloud.deploy(V2, behaviour)
    before = await counted(cloud, V2)
    tag = (await cloud.world.service("ethixai-backend"))["tags"]["canary"]
    assert await ask(tag, 5) == [seen] * 5

    async def arrived() -> bool:
        return (await counted(cloud, V2)).get("5xx", 0) == before.get("5xx", 0) + 5

    await cloud.until(arrived)
    assert (await counted(cloud, cloud.STABLE)).get("5xx", 0) == 0


async def test_a_class_has_a_series_from_its_first_request_on(cloud) -> None:
    """Requests of users and of the tag's URL count together; the series has no label of an instance or a job."""
    await cloud.world.turn(request_count_delay_s=0.0)
    before = (await counted(cloud, cloud.STABLE)).get("2xx", 0)
    assert await ask((await cloud.get()).uri, 7) == [200] * 7

    async def arrived() -> bool:
        return (await counted(cloud, cloud.STABLE)).get("2xx", 0) == before + 7

    await cloud.until(arrived)
    async with httpx.AsyncClient(base_url=cloud.world.prometheus_url, trust_env=False) as http:
        query = f'run_googleapis_com:request_count{{revision_name="{cloud.STABLE}"}}'
        found = (await http.get("/api/v1/query", params={"query": query})).json()["data"]["result"]
    assert {"job", "instance"}.isdisjoint(found[0]["metric"])
    assert found[0]["metric"]["monitored_resource"] == "cloud_run_revision"


def test_counts_are_sampled_rarely_and_visible_late() -> None:
    """Every ``interval_s`` there is a sample; it is shown ``delay_s`` later, with its own time."""
    counts, key = RequestCounts(lambda: asyncio.sleep(0, {})), Counted(NAME, V2, "5xx")
    for at_s in range(1000, 1010):
        counts.add({key: at_s - 1000}, at_s)
    assert counts.text(1003.9) == ""
    assert counts.text(1008.0).splitlines()[1].endswith("} 4 1004000")
    assert counts.text(1013.0).splitlines()[1].endswith("} 8 1008000")


def test_a_front_that_counts_from_zero_again_loses_nothing() -> None:
    """After the front was started again its counts are added to those before."""
    counts, key = RequestCounts(lambda: asyncio.sleep(0, {})), Counted(NAME, V2, "2xx")
    counts.interval_s = counts.delay_s = 0
    for at_s, count in enumerate((5, 8, 2)):
        counts.add({key: count}, at_s)
    assert counts.text(2).splitlines()[1].endswith("} 10 2000")
