"""Whatever HTTP does is one of this project's errors, and says which field to correct."""

import email.utils
import logging
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from blocks.base import PerLoop
from blocks.http import HttpService
from playbook.errors import Conflict, Refused, ReleaseError, Transient
from rehearsal.world.serving import serve

TOKEN = "very-secret-token"


def service(url: str, timeout_s: float = 2) -> HttpService:
    """A service at ``url``, with a token in its headers."""
    return HttpService("Vendor", "vendor", url, "token", timeout_s, PerLoop(), {"Authorization": f"Bearer {TOKEN}"})


@pytest.fixture(scope="module")
async def echo() -> AsyncIterator[str]:
    """A server that answers with the status in its path."""

    async def answer(request: Request) -> Response:
        limited = {"x-ratelimit-remaining": "0"} if "limited" in request.query_params else None
        return PlainTextResponse("so it is", int(request.path_params["status"]), limited)

    async with serve(Starlette(routes=[Route("/{status}", answer, methods=["GET"])])) as served:
        yield served.url


@pytest.mark.parametrize(
    ("status", "ours"),
    [
        (301, Refused),
        (400, Refused),
        (401, Refused),
        (403, Refused),
        (404, Refused),
        (409, Conflict),
        (412, Conflict),
        (422, Refused),
        (429, Transient),
        (500, Transient),
        (503, Transient),
    ],
)
async def test_a_status_says_what_comes_next(echo: str, status: int, ours: type[ReleaseError]) -> None:
    """Too many and broken are asked again; the rest is for a person, who is told what came."""
    with pytest.raises(ours, match=f"Vendor, asked for tea, answered {status}") as raised:
        await service(echo).send("GET", f"/{status}", "for tea")
    assert type(raised.value) is ours


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_names_its_field(echo: str, status: int) -> None:
    """Which token, not its text."""
    with pytest.raises(Refused, match=r"vendor\.token") as raised:
        await service(echo).send("GET", f"/{status}", "for tea")
    assert TOKEN not in str(raised.value)


async def test_a_rate_limit_that_looks_like_a_refusal_is_asked_again(echo: str) -> None:
    """GitHub answers 403 with no requests left."""
    with pytest.raises(Transient):
        await service(echo).send("GET", "/403?limited", "for tea")


@pytest.fixture
async def busy() -> AsyncIterator[tuple[str, list[float]]]:
    """A server that takes one request and then none until its Retry-After, as the query says; and when it was asked."""
    asked_at_s: list[float] = []

    async def answer(request: Request) -> Response:
        asked_at_s.append(time.monotonic())
        if len(asked_at_s) > int(request.query_params.get("times", "1")):
            return PlainTextResponse("here you are")
        after = request.query_params["after"]
        if after == "date":
            after = email.utils.formatdate(time.time() + 2, usegmt=True)
        return PlainTextResponse("slow down", int(request.path_params["status"]), {"retry-after": after})

    async with serve(Starlette(routes=[Route("/{status}", answer, methods=["GET", "POST"])])) as served:
        yield served.url, asked_at_s


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "query", ["429?after=1", "429?after=0", "429?after=date", "403?after=1", "429?after=1&times=2"]
)
async def test_retry_after_is_waited_for(busy: tuple[str, list[float]], query: str, method: str) -> None:
    """Seconds or a date; GitHub says it with 403 too. What was refused so was not carried out, so a POST may repeat."""
    url, asked_at_s = busy
    answer = await service(url, timeout_s=10).send(method, f"/{query}", "for tea")
    assert answer.text == "here you are"
    assert all(later - earlier >= 0.5 for earlier, later in pairwise(asked_at_s))


@pytest.mark.parametrize("after", ["60", "9" * 400, "Fri, 01 Jan 2100 00:00:00 GMT", "soon", "-5", "1e3"])
async def test_retry_after_beyond_the_deadline_is_asked_again_later(busy: tuple[str, list[float]], after: str) -> None:
    """One request, and Transient at once: the step asks again, and a check that cannot be told blocks."""
    url, asked_at_s = busy
    with pytest.raises(Transient, match="answered 429"):
        await service(url).send("GET", f"/429?after={after}", "for tea")
    assert len(asked_at_s) == 1


async def test_retry_after_of_an_outage_is_not_waited_for(busy: tuple[str, list[float]]) -> None:
    """503: whether it was carried out is not known; the step that asks decides."""
    url, asked_at_s = busy
    with pytest.raises(Transient, match="answered 503"):
        await service(url).send("POST", "/503?after=1", "for tea")
    assert len(asked_at_s) == 1


async def test_a_status_that_is_awaited_is_an_answer(echo: str) -> None:
    """A 404 may be what was asked."""
    assert (await service(echo).send("GET", "/404", "for tea", frozenset({404}))).status_code == 404


async def test_an_answer_of_another_shape_is_asked_again_and_not_quoted(echo: str) -> None:
    """A gateway's page is no answer; what it says is left out, since it may be a token."""
    with pytest.raises(Transient, match=r"vendor\.api_url") as raised:
        await service(echo).json("GET", "/200", "for tea", dict)
    assert "so it is" not in str(raised.value)


async def test_an_answer_that_does_not_come_names_the_fields_once(echo: str) -> None:
    """The address of a service of ours is no field of the block, so only its time is named."""
    with pytest.raises(Transient, match=r"check vendor\.api_url and vendor\.timeout_s\."):
        await service(echo, timeout_s=0).send("GET", "/200", "for tea")
    with pytest.raises(Transient, match=r"check vendor\.timeout_s\."):
        await replace(service(echo, timeout_s=0), url_field="timeout_s").send("GET", "/200", "for tea")


def every(root: type[Exception]) -> list[type[Exception]]:
    """A class and all below it."""
    return [root, *(found for below in root.__subclasses__() for found in every(below))]


ROOTS = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
ERRORS = [kind for root in ROOTS for kind in every(root) if kind.__module__.startswith("httpx")]
WRONG_URL = (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects)


def made(kind: type[Exception]) -> Exception:
    """An error of this class, however its constructor is called."""
    if kind is httpx.HTTPStatusError:
        return httpx.HTTPStatusError("no", request=httpx.Request("GET", "http://x"), response=httpx.Response(500))
    try:
        return kind("no")
    except TypeError:
        return kind()


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_of_httpx_is_mapped(kind: type[Exception]) -> None:
    """Each becomes ours and names the field that holds the address; what the network did is asked again."""
    is_network = issubclass(kind, httpx.TransportError | httpx.DecodingError | httpx.StreamError)
    ours = service("http://x").translate(made(kind), "for tea")
    assert type(ours) is (Transient if is_network and not issubclass(kind, WRONG_URL) else Refused)
    assert "vendor.api_url" in str(ours)


async def test_nobody_there_is_transient() -> None:
    """A refused connection names the address and its field."""
    with pytest.raises(Transient, match=r"127\.0\.0\.1:1: ConnectError.*vendor\.api_url"):
        await service("http://127.0.0.1:1").send("GET", "/", "for tea")


async def test_a_secret_is_in_no_log(echo: str, caplog: pytest.LogCaptureFixture) -> None:
    """Not even when everything is logged."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Refused):
        await service(echo, timeout_s=30).send("GET", "/401", "for tea")
    assert caplog.records
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(service(echo))


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("{base}/repositories/1300192", "Was what it names renamed there? Check [vendor] in the environment file."),
        ("/repositories/1300192", "Was what it names renamed there? Check [vendor] in the environment file."),
        ("https://elsewhere.example/", "Check vendor.api_url"),
        (None, "Check vendor.api_url"),
    ],
    ids=["same host", "a path", "another host", "nowhere"],
)
async def test_a_redirect_says_which_field_to_check(location: str | None, says: str) -> None:
    """GitHub answers 301 for a repository that was renamed: its address is not what is wrong."""

    async def moved(request: Request) -> Response:
        base = f"{request.url.scheme}://{request.url.netloc}"
        return Response(status_code=301, headers={"location": location.format(base=base)} if location else None)

    async with serve(Starlette(routes=[Route("/{rest:path}", moved)])) as served:
        with pytest.raises(Refused) as raised:
            await service(served.url).send("GET", "/repos/team/old-name", "for its checks")
    assert says in str(raised.value)


SECRET_PATH = "/services/T0ETHIXAI/B0/very-secret-part"


@pytest.fixture(scope="module")
async def webhook() -> AsyncIterator[str]:
    """An incoming webhook, whose address is its secret, and which repeats the path in its errors."""

    async def answer(request: Request) -> Response:
        how = request.query_params.get("how", "")
        if how == "moved":
            return Response(
                status_code=302, headers={"location": f"https://elsewhere.example/?from={request.url.path}"}
            )
        if how == "nonsense":
            return PlainTextResponse("hello")
        return PlainTextResponse(f"Cannot POST {request.url.path}", 404)

    async with serve(Starlette(routes=[Route("/{rest:path}", answer, methods=["POST"])])) as served:
        yield served.url


@pytest.mark.parametrize("is_base", [True, False])
@pytest.mark.parametrize("how", ["", "moved", "nonsense", "away", "hung", "no-url"])
async def test_the_address_of_a_webhook_is_in_no_error(webhook: str, is_base: bool, how: str) -> None:
    """Whether it is the service's address or the path of one call: scheme and host are enough to find what is wrong."""
    url = {"away": "http://127.0.0.1:9", "no-url": "http://[::1"}.get(how, webhook) + SECRET_PATH
    base, path = (url, f"?how={how}") if is_base else ("", f"{url}?how={how}")
    asked = service(base, timeout_s=1e-6 if how == "hung" else 2)
    with pytest.raises(ReleaseError) as raised:
        await asked.json("POST", path, "to post", lambda found: found["ok"])
    assert "very-secret-part" not in str(raised.value)
    assert "B0" not in str(raised.value)
    if is_base and how in ("away", "hung", "moved"):
        assert "http://127.0.0.1:" in str(raised.value)


async def test_an_address_that_is_none_is_not_quoted_by_what_caused_the_error() -> None:
    """The log of a run shows the whole chain."""
    secret = "hunter22"
    with pytest.raises(ReleaseError) as raised:
        await service(f"http://127.0.0.1:{secret}/").send("GET", "/", "for tea")
    assert secret not in "".join(traceback.format_exception(raised.value))
