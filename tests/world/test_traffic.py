"""Traffic: what is refused at once, what fails in the operation, and what is served."""

import asyncio

import httpx
import pytest
from google.api_core import exceptions
from google.cloud import run_v2

V2 = "ethixai-backend-v2"


async def revision_of(url: str) -> str:
    """Which revision answered a GET of ``url``; its status where none did."""
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url + "/health/readiness")
    return answer.headers.get("x-rehearsal-revision") or str(answer.status_code)


@pytest.mark.parametrize(
    ("percents", "field"),
    [([90], "traffic"), ([60, 50], "traffic"), ([0], "traffic"), ([-10, 110], "percent"), ([101], "percent")],
)
async def test_percents_must_be_a_split(cloud, percents, field):
    """Below 0, above 100, or not summing to 100: INVALID_ARGUMENT naming the field, nothing written."""
    before = await cloud.get()
    with pytest.raises(exceptions.InvalidArgument, match=field) as refused:
        await cloud.shift(*(cloud.target(cloud.STABLE, percent) for percent in percents))
    assert field in refused.value.details[0].field_violations[0].field
    assert await cloud.get() == before


async def test_a_tag_may_be_given_once(cloud):
    """Two targets with one tag: INVALID_ARGUMENT."""
    with pytest.raises(exceptions.InvalidArgument, match="tag"):
        await cloud.shift(cloud.target(cloud.STABLE, 100, "a"), cloud.target(cloud.STABLE, 0, "a"))


async def test_an_unknown_revision_fails_in_the_operation(cloud):
    """The call succeeds, the operation ends with code 13, and what was served goes on."""
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    served = await cloud.get()
    operation = await cloud.shift(cloud.target("ethixai-backend-nowhere", 100))
    assert operation.error.code == 13
    assert operation.error.message == (
        "Revision 'ethixai-backend-nowhere' does not exist or is deleted. "
        "Update all traffic to route to currently available revisions."
    )
    after = await cloud.get()
    assert after.traffic_statuses == served.traffic_statuses
    assert after.observed_generation == served.observed_generation < after.generation
    assert after.terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED
    assert await revision_of(after.uri) == cloud.STABLE


async def test_a_tag_has_a_url_of_its_own_at_zero_percent(cloud):
    """A new revision at 0 % answers at its tag's URL and nowhere else; the tag's URL ends with the tag."""
    await cloud.deploy(V2)
    service = await cloud.get()
    tag_url = next(status.uri for status in service.traffic_statuses if status.tag == "canary")
    assert await revision_of(tag_url) == V2
    assert {await revision_of(service.uri) for _ in range(20)} == {cloud.STABLE}
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    assert await revision_of(tag_url) == "503"


async def test_a_tag_keeps_its_url_when_it_moves(cloud):
    """The tag given to another revision answers with that one, at the same URL."""
    await cloud.deploy(V2)
    tag_url = (await cloud.get()).traffic_statuses[1].uri
    await cloud.shift(cloud.target(cloud.STABLE, 100, "canary"))
    assert (await cloud.get()).traffic_statuses[0].uri == tag_url
    assert await revision_of(tag_url) == cloud.STABLE


async def test_empty_traffic_is_everything_to_the_latest_ready_revision(cloud):
    """An update that empties ``traffic`` does not stop the service: it is LATEST at 100."""
    await cloud.deploy(V2)
    await cloud.shift()
    service = await cloud.get()
    assert list(service.traffic) == []
    assert service.traffic_statuses[0].percent == 100
    assert await cloud.served() == {V2: 100}


async def test_latest_follows_a_new_revision_and_a_pin_does_not(cloud):
    """With LATEST a deploy takes all traffic; with a pinned split it gets none."""
    await cloud.deploy(V2, traffic=[cloud.target("LATEST", 100)])
    assert await cloud.served() == {V2: 100}
    await cloud.deploy("ethixai-backend-v3", traffic=[cloud.target(V2, 100)])
    assert await cloud.served() == {V2: 100}
    assert (await cloud.get()).latest_ready_revision.endswith("/ethixai-backend-v3")


async def test_the_split_is_that_of_the_percents(cloud):
    """Of 2,000 requests a canary of 10 % gets about 200 (five standard deviations are allowed)."""
    await cloud.deploy(V2)
    await cloud.shift(cloud.target(cloud.STABLE, 90), cloud.target(V2, 10, "canary"))
    url = (await cloud.get()).uri
    async with httpx.AsyncClient(trust_env=False) as http:
        answers = [await http.get(url + "/health/readiness") for _ in range(2000)]
    canary = sum(answer.headers["x-rehearsal-revision"] == V2 for answer in answers)
    assert 133 <= canary <= 267


async def test_an_update_is_reconciling_until_it_is_served(cloud):
    """``reconciling`` is true and observed_generation lags, then both settle."""
    await cloud.world.turn(reconcile_delay_s=0.5)
    service = run_v2.Service(name=cloud.name, traffic=[cloud.target(cloud.STABLE, 100)])
    started = await cloud.services.update_service(request={"service": service, "update_mask": {"paths": ["traffic"]}})
    during = await cloud.get()
    assert during.reconciling
    assert during.observed_generation < during.generation
    assert during.terminal_condition.state == run_v2.Condition.State.CONDITION_RECONCILING
    await cloud.ended(started.operation)
    after = await cloud.get()
    assert not after.reconciling
    assert after.observed_generation == after.generation


async def test_writes_at_once_are_worked_off_in_order(cloud):
    """Three updates while the first reconciles: all succeed, the last one is served."""
    await cloud.deploy(V2)
    splits = [(90, 10), (50, 50), (0, 100)]
    operations = await asyncio.gather(
        *(cloud.shift(cloud.target(cloud.STABLE, stable), cloud.target(V2, canary)) for stable, canary in splits)
    )
    assert not any(operation.HasField("error") for operation in operations)
    last = (await cloud.world.writes())[-1]["traffic"]
    assert (await cloud.world.service("ethixai-backend"))["served"] == last


async def test_the_proxy_may_follow_later_than_the_operation(cloud):
    """With a propagation delay the old split is still answered when the operation is done, then the new one."""
    await cloud.deploy(V2)
    await cloud.world.turn(propagation_delay_s=0.7)
    await cloud.shift(cloud.target(V2, 100))
    service = await cloud.get()
    assert service.traffic_statuses[0].revision == V2
    assert await revision_of(service.uri) == cloud.STABLE

    async def has_followed() -> bool:
        return await revision_of(service.uri) == V2

    await cloud.until(has_followed)
    write = (await cloud.world.writes())[-1]
    assert write["served_at"] - write["at"] >= 0.7
