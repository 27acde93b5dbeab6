"""Prometheus: raw samples with their own times, single values, and every way to get none."""

import asyncio
import math
import time

import httpx
import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from blocks import Prometheus
from playbook.analysis.samples import SeriesAnswer
from playbook.errors import NoData, Refused, ReleaseError, Transient
from rehearsal.world.serving import serve

UP = 'up{job="backend"}'


@pytest.fixture(scope="module")
async def scraped(prometheus: Prometheus) -> Prometheus:
    """Prometheus, once it has scraped the backend a few times."""
    for _ in range(300):
        found = await prometheus.series(UP, span_s=10)
        if any(len(one.samples) >= 3 for one in found):
            return prometheus
        await asyncio.sleep(0.1)
    raise AssertionError("the backend was never scraped")


async def test_its_clock_is_unix_time(prometheus: Prometheus) -> None:
    """On the same machine it is ours."""
    assert math.isclose(await prometheus.clock(), time.time(), abs_tol=5)


async def test_a_selector_gives_raw_samples(scraped: Prometheus) -> None:
    """Each has the very time of its scrape, and they rise; labels are those of the series."""
    scraped_at_s = await scraped.value(f"max(timestamp({UP}))")
    found = await scraped.series(UP, span_s=60)
    assert scraped_at_s in {at for one in found for at, _ in one.samples}
    for one in found:
        times = [at for at, _ in one.samples]
        assert times == sorted(set(times))
        assert one.labels["job"] == "backend"


async def test_a_window_ends_where_it_is_asked_to(scraped: Prometheus) -> None:
    """So two looks can be laid side by side."""
    now_s = await scraped.clock()
    for one in await scraped.series(UP, span_s=1.5, at_s=now_s - 1):
        assert all(now_s - 2.6 <= at <= now_s - 0.9 for at, _ in one.samples)


async def test_an_expression_is_evaluated_every_step(scraped: Prometheus) -> None:
    """What is no raw series has a value at each whole second here, wherever the scrapes fell."""
    (found,) = await scraped.series("max(vector(7))", span_s=5)
    assert [value for _, value in found.samples] in ([7.0] * 5, [7.0] * 6)
    assert all(at == int(at) for at, _ in found.samples)


async def test_nothing_that_matches_is_no_series(scraped: Prometheus) -> None:
    """Whether that is bad is not for a block to say."""
    assert await scraped.series('up{revision="nobody"}', span_s=10) == ()


@pytest.mark.parametrize("query", ["vector(3)", "scalar(vector(3))"], ids=["a vector of one", "a scalar"])
async def test_a_value_is_one_number(prometheus: Prometheus, query: str) -> None:
    """In whichever form PromQL gives it."""
    assert await prometheus.value(query) == 3


@pytest.mark.parametrize("query", ["nobody", "vector(0) / 0", "vector(1) / 0"], ids=["empty", "NaN", "infinite"])
async def test_no_number_is_no_data(prometheus: Prometheus, query: str) -> None:
    """NaN would pass every threshold, so it never gets out."""
    with pytest.raises(NoData, match="Prometheus"):
        await prometheus.value(query)


@pytest.mark.parametrize("query", ["up{", "sum(", "up[5m] / 2"])
async def test_a_wrong_query_is_refused_and_quoted(prometheus: Prometheus, query: str) -> None:
    """It says where the query is written."""
    with pytest.raises(Refused, match=r"\[queries\]") as raised:
        await prometheus.value(query)
    assert query in str(raised.value)


async def test_several_series_are_not_one_number(prometheus: Prometheus) -> None:
    """The first of them would be a number by chance."""
    with pytest.raises(Refused, match="2 series"):
        await prometheus.value('vector(1) or label_replace(vector(2), "a", "b", "", "")')


async def test_a_wrong_address_names_its_field(whole_world) -> None:
    """No server, or another one: telemetry is missing, and the field is named."""
    for url in ("http://127.0.0.1:1", whole_world.vendors_url):
        with pytest.raises(Transient, match=r"prometheus\.url"):
            await Prometheus(url=url).clock()


async def test_prometheus_may_go_away_and_come_back(scraped: Prometheus, whole_world) -> None:
    """While it is away every question is Transient; the same block goes on when it is back."""
    await whole_world.prometheus_away()
    with pytest.raises(Transient):
        await scraped.model_copy(update={"timeout_s": 0.5}).clock()
    await whole_world.prometheus_back()
    assert await scraped.clock() > 0


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        (301, Transient),
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (404, Transient),
        (422, Refused),
        (429, Transient),
        (503, Transient),
    ],
)
def test_every_status_says_what_comes_next(status: int, ours: type[ReleaseError]) -> None:
    """A wrong query and a wrong token are for a person; the rest is asked again."""
    service = Prometheus(url="http://x")._service({})
    answer = httpx.Response(status, text="no", request=httpx.Request("POST", "http://x/api/v1/query"))
    assert type(service.unexpected(answer, "up")) is ours


async def test_a_redirect_is_not_followed() -> None:
    """The token would go to another host with it."""
    reached: list[str] = []

    async def answer(request: Request) -> Response:
        reached.append(request.url.path)
        return Response(status_code=302, headers={"location": "/elsewhere"})

    async with serve(Starlette(routes=[Route("/{path:path}", answer)])) as served:
        with pytest.raises(Transient, match="302"):
            await Prometheus(url=served.url, bearer=SecretStr("very-secret-token")).clock()
    assert reached == ["/api/v1/query"]


def samples(**more: object) -> dict[str, object]:
    """A good answer with one series."""
    series = {"metric": {"__name__": "up"}, "values": [[1.0, "1"]]}
    return {"status": "success", "data": {"resultType": "matrix", "result": [series]}, **more}


async def answered(body: dict[str, object]) -> SeriesAnswer:
    """What the block makes of this answer."""

    async def answer(request: Request) -> Response:
        return JSONResponse(body)

    async with serve(Starlette(routes=[Route("/{path:path}", answer)])) as served:
        return await Prometheus(url=served.url).answer("up", span_s=10)


@pytest.mark.parametrize(
    ("more", "warnings"),
    [
        ({}, ()),
        ({"warnings": []}, ()),
        ({"warnings": None}, ()),
        ({"warnings": ["store 10.0.0.2:10901 unavailable"]}, ("store 10.0.0.2:10901 unavailable",)),
        ({"warnings": ["w" * 5000] * 50}, ("w" * 298 + " …",) * 5),
        ({"infos": ["metric might not be a counter"]}, ()),
    ],
    ids=["none", "empty", "null", "one", "many", "a remark"],
)
async def test_a_partial_answer_says_so(more: dict[str, object], warnings: tuple[str, ...]) -> None:
    """Its samples come with it, and as much of its warnings as people read. A remark is none."""
    found = await answered(samples(**more))
    assert found.warnings == warnings
    assert found.series[0].samples == ((1.0, 1.0),)


async def test_a_native_histogram_is_a_series_without_samples() -> None:
    """It has no buckets that could be read."""
    series = {"metric": {"__name__": "d"}, "histograms": [[1.0, {"count": "1", "sum": "1", "buckets": []}]]}
    found = await answered(samples(data={"resultType": "matrix", "result": [series]}))
    assert [(one.labels, one.samples) for one in found.series] == [({"__name__": "d"}, ())]


@pytest.mark.parametrize("value", ["1.2.3", ".", "1e", "0x1", ""])
async def test_a_value_that_is_no_number_is_no_answer(value: str) -> None:
    """One of our errors, whatever it looks like."""
    series = {"metric": {"__name__": "up"}, "values": [[1.0, value]]}
    with pytest.raises(Transient):
        await answered(samples(data={"resultType": "matrix", "result": [series]}))


async def test_a_long_label_costs_no_other_series() -> None:
    """It is cut, and two of them are still two series."""
    metrics = [{"path": "/a"}, {"path": "x" * 2_000_000 + "1"}, {"path": "x" * 2_000_000 + "2"}]
    result = [{"metric": one, "values": [[1.0, "1"]]} for one in metrics]
    found = (await answered(samples(data={"resultType": "matrix", "result": result}))).series
    paths = [one.labels["path"] for one in found]
    assert (paths[0], len(set(paths)), max(map(len, paths)) < 2000) == ("/a", 3, True)


async def test_an_error_with_the_status_200_is_quoted() -> None:
    """A proxy may send it so."""
    with pytest.raises(Transient, match="200 with an error: execution: query timed out in expression evaluation"):
        await answered(
            {"status": "error", "errorType": "execution", "error": "query timed out in expression evaluation"}
        )


def test_a_token_is_in_no_message() -> None:
    """Nor in what a block looks like."""
    block = Prometheus(url="http://127.0.0.1:1", bearer=SecretStr("very-secret-token"))
    with pytest.raises(Transient) as raised:
        asyncio.run(block.clock())
    assert "very-secret" not in f"{raised.value!r} {raised.value.__cause__!r} {block!r}"
