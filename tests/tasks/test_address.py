"""Where a revision is asked, and with what: URL templates, headers of one service, ID tokens. Over real sockets."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from blocks import EthixAI
from playbook.errors import Refused, Transient
from playbook.release.traffic import ServiceSnapshot, TrafficSplit
from playbook.release.version import Service, SmokeTest
from rehearsal.world.remote import RemoteWorld
from tasks.address import application, audience_of, unreachable, url_of

URI = "https://ethixai-backend-abc-ue.a.run.app"


@dataclass
class Front:
    """A load balancer that takes every request, and what it was sent: path -> headers in small letters."""

    url: str
    seen: dict[str, dict[str, str]] = field(default_factory=dict)


@pytest.fixture
async def front() -> AsyncIterator[Front]:
    """On a free port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        lines = (line.partition(": ") for line in head[1:] if line)
        found.seen[head[0].split()[1]] = {name.lower(): value for name, _, value in lines}
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        found = Front(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        yield found


def service(**fields: object) -> Service:
    return Service.model_validate({"name": "ethixai-backend", "repository": "r", "job": "backend"} | fields)


def environment(*services: Service, id_tokens: bool = False) -> SimpleNamespace:
    """As much of an environment as these tasks need."""
    found = {one.name: one for one in services}
    return SimpleNamespace(service=found.__getitem__, ethixai=EthixAI(id_tokens=id_tokens))


def snapshot(tags: dict[str, str] | None = None, **fields: object) -> ServiceSnapshot:
    split = TrafficSplit.all_to("one", tags)
    known = {"service": "ethixai-backend", "etag": "1", "uri": URI, "split": split, "served": split}
    return ServiceSnapshot.model_validate(known | fields)


def test_a_template_names_a_tags_url() -> None:
    """Once the tag is served; before that it is asked again, since another revision might answer."""
    env = environment(service(tag_url="https://{tag}.internal.example/x", url="https://api.example"))
    assert (
        url_of(env, snapshot({"c-1f2e3d": "two-1f2e3d"}), "c-1f2e3d", "two-1f2e3d")
        == "https://c-1f2e3d.internal.example/x"
    )
    assert url_of(env, snapshot()) == "https://api.example"
    with pytest.raises(Transient, match="c-1f2e3d is not served yet"):
        url_of(env, snapshot(), "c-1f2e3d", "two-1f2e3d")
    with pytest.raises(Transient):
        url_of(env, snapshot(served=None), "c-1f2e3d", "two-1f2e3d")


def test_without_a_template_cloud_run_names_it() -> None:
    """And where Cloud Run names none, one sentence says what to turn on."""
    env = environment(service())
    known = snapshot({"c-1f2e3d": "two-1f2e3d"}, tag_urls={"c-1f2e3d": "https://c-1f2e3d---x.a.run.app"})
    assert url_of(env, known, "c-1f2e3d", "two-1f2e3d") == "https://c-1f2e3d---x.a.run.app"
    with pytest.raises(Refused, match="has no URL"):
        url_of(env, snapshot({"c-1f2e3d": "two-1f2e3d"}), "c-1f2e3d", "two-1f2e3d")


@pytest.mark.parametrize("template", ["https://api.example", "{tag}.example", "ftp://{tag}.example", "https://{tag} x"])
def test_a_template_without_a_tag_or_a_scheme_is_none(template: str) -> None:
    """`blocks check` says so: every release would test the same revision."""
    with pytest.raises(ValueError, match="tag_url"):
        service(tag_url=template)


async def test_headers_go_to_their_service_alone(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is read when it is sent, and the frontend's requests do not carry the backend's."""
    monkeypatch.setenv("FRONT_PASS", "opensesame")
    env = environment(service(headers={"X-Front-Pass": "env:FRONT_PASS"}), service(name="ethixai-frontend"))
    for name in ("ethixai-backend", "ethixai-frontend"):
        await application(env, name).run(SmokeTest.HEALTH, f"{front.url}/{name}")
    backend, frontend = (
        front.seen["/ethixai-backend/health/readiness"],
        front.seen["/ethixai-frontend/health/readiness"],
    )
    assert backend["x-front-pass"] == "opensesame"
    assert "x-front-pass" not in frontend
    monkeypatch.delenv("FRONT_PASS")
    with pytest.raises(Refused, match="env:FRONT_PASS cannot be read"):
        await application(env, "ethixai-backend").run(SmokeTest.HEALTH, front.url)


def test_a_tag_on_another_revision_has_no_url() -> None:
    """A person has moved it: what answers there is not the new revision."""
    with pytest.raises(Refused, match="tag c-1f2e3d is on two-000000, moved there by"):
        url_of(environment(service()), snapshot({"c-1f2e3d": "two-000000"}), "c-1f2e3d", "two-1f2e3d")


async def test_an_id_token_is_for_the_service_wherever_it_is_sent(front: Front, world: RemoteWorld) -> None:
    """A tag's URL, and a load balancer's, take the audience of the service's own URL."""
    env = environment(service(tag_url=front.url + "/{tag}", url=front.url), id_tokens=True)
    found = snapshot({"c-1f2e3d": "two-1f2e3d"})
    for tag in ("c-1f2e3d", ""):
        url = url_of(env, found, tag, found.split.tags.get(tag, ""))
        await application(env, "ethixai-backend").run(SmokeTest.HEALTH, url, audience_of(env, found))
    assert len(front.seen) == 2
    for headers in front.seen.values():
        assert audience(headers["x-serverless-authorization"]) == URI
        assert "authorization" not in headers


async def test_where_the_default_url_is_off_the_token_is_for_the_url_of_the_file(
    front: Front, world: RemoteWorld
) -> None:
    """It is then one of the service's custom audiences; without any audience there would be no token."""
    env = environment(service(tag_url=front.url + "/{tag}", url=front.url), id_tokens=True)
    found = snapshot(uri="", is_url_disabled=True)
    assert await unreachable(env, found) == ""
    await application(env, "ethixai-backend").run(SmokeTest.HEALTH, front.url, audience_of(env, found))
    assert audience(front.seen["/health/readiness"]["x-serverless-authorization"]) == front.url


def audience(authorization: str) -> str:
    """Whom the token in a header is for."""
    body = authorization.removeprefix("Bearer ").split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["aud"])
