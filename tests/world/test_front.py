"""How a service is reached from outside: private, internal, without its default URL, and by a tag that is reused."""

from pathlib import Path

import httpx
import pytest
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from rehearsal.world.proxy import ROUTES, Proxy
from tests.world.v1_client import V1

V2, V3 = "ethixai-backend-v2", "ethixai-backend-v3"


async def status(url: str, token: str = "") -> int:
    """What the service's front answers."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        return (await http.get(url + "/health/readiness")).status_code


async def test_a_private_service_wants_an_id_token_for_its_url(cloud) -> None:
    """403 without one, with one for another audience, and with an access token; a tag wants the service's audience."""
    world = cloud.world
    await cloud.deploy(V2)
    uri, tag = (await cloud.get()).uri, (await world.service("ethixai-backend"))["tags"]["canary"]
    await world.front(cloud.name, is_private=True)
    good, other = await world.id_token(uri), await world.id_token(tag)
    access = await world.access_token()
    assert [await status(uri, token) for token in ("", other, access, "x.y.z", good)] == [403, 403, 403, 403, 200]
    assert [await status(tag, token) for token in ("", other, good)] == [403, 403, 200]
    assert await status(world.url("ethixai-frontend")) == 200
    await world.front(cloud.name, is_private=False)
    assert await status(uri) == 200


async def test_the_token_server_gives_id_tokens_and_access_tokens(cloud) -> None:
    """Google's own library gets both with the key file that the world's environment names."""
    import asyncio

    await cloud.world.front(cloud.name, is_private=True)
    uri, path = (await cloud.get()).uri, cloud.world.client_environ["GOOGLE_APPLICATION_CREDENTIALS"]

    def tokens() -> tuple[str, str]:
        by_audience = service_account.IDTokenCredentials.from_service_account_file(path, target_audience=uri)
        plain = service_account.Credentials.from_service_account_file(path, scopes=["cloud-platform"])
        for credentials in (by_audience, plain):
            credentials.refresh(Request())
        return by_audience.token, plain.token

    id_token, access_token = await asyncio.to_thread(tokens)
    assert await status(uri, id_token) == 200
    async with httpx.AsyncClient(base_url=cloud.world.rest_url, trust_env=False) as http:
        v1 = V1(cloud, http, access_token)
        assert (await v1.service())["status"]["url"] == uri


@pytest.mark.parametrize("api", ["v1", "v2"])
async def test_internal_ingress_is_404_from_outside(v1: V1, api: str) -> None:
    """Set over v1's annotation or by hand, seen in both APIs; ``all`` opens it again."""
    uri = (await v1.cloud.get()).uri
    if api == "v1":
        read = await v1.service()
        read["metadata"]["annotations"]["run.googleapis.com/ingress"] = "internal"
        await v1.done(await v1.put(read))
    else:
        await v1.world.front(v1.cloud.name, is_internal=True)
    assert await status(uri) == 404
    assert (await v1.cloud.get()).ingress.name == "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert (await v1.service())["metadata"]["annotations"]["run.googleapis.com/ingress-status"] == "internal"
    await v1.world.front(v1.cloud.name, is_internal=False)
    assert await status(uri) == 200


async def test_a_service_without_its_default_url_has_no_urls_at_all(v1: V1) -> None:
    """``default-url-disabled``: neither the service's nor a tag's in v1 or v2, and nobody answers there."""
    await v1.cloud.deploy(V2)
    before = await v1.service()
    old = [before["status"]["url"], before["status"]["traffic"][1]["url"]]
    before["metadata"]["annotations"]["run.googleapis.com/default-url-disabled"] = "true"
    after = await v1.done(await v1.put(before))
    assert "url" not in after["status"]
    assert [target.get("url") for target in after["status"]["traffic"]] == [None, None]
    assert "run.googleapis.com/urls" not in after["metadata"]["annotations"]
    seen = await v1.cloud.get()
    assert (seen.uri, list(seen.urls), [t.uri for t in seen.traffic_statuses]) == ("", [], ["", ""])
    assert [await status(url) for url in old] == [404, 404]
    await v1.world.front(v1.cloud.name, is_url_disabled=False)
    assert (await v1.cloud.get()).uri == old[0]
    assert await status(old[0]) == 200


async def test_a_reused_tag_routes_to_its_old_revision_for_a_while(cloud) -> None:
    """The operation is done and the status names the new one; the old one still answers, then no longer."""
    await cloud.deploy(V2)
    url = (await cloud.world.service("ethixai-backend"))["tags"]["canary"]
    await cloud.world.turn(tag_delay_s=1.5)
    await cloud.deploy(V3)
    assert {t.tag: t.revision for t in (await cloud.get()).traffic_statuses if t.tag} == {"canary": V3}

    async def answers() -> str:
        async with httpx.AsyncClient(trust_env=False) as http:
            return str((await http.get(url + "/health/readiness")).headers["x-rehearsal-revision"])

    assert await answers() == V2

    async def has_moved() -> bool:
        return await answers() == V3

    assert await cloud.until(has_moved)


async def test_the_token_may_come_in_a_header_of_its_own(cloud) -> None:
    """As Cloud Run takes it where the application has its own Authorization."""
    await cloud.deploy(V2)
    uri = (await cloud.get()).uri
    await cloud.world.front(cloud.name, is_private=True)
    good = await cloud.world.id_token(uri)
    headers = {"authorization": "Bearer of-the-application", "x-serverless-authorization": f"Bearer {good}"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
        assert (await http.get(uri + "/health/readiness")).status_code == 200


def test_the_port_of_a_new_tag_is_never_given_to_another(tmp_path: Path) -> None:
    """It has no server until its revision has started; only a tag that was taken away leaves its port."""
    proxy = Proxy(tmp_path)
    urls = [proxy.url(f"s{number}#canary") for number in range(ROUTES)]
    assert len(set(urls)) == ROUTES
    with pytest.raises(RuntimeError, match="all 128 ports"):
        proxy.url("another#canary")
    proxy._routes["s7#canary"].is_given_up = True
    assert proxy.url("another#canary") == urls[7]
    with pytest.raises(RuntimeError, match="all 128 ports"):
        proxy.url("a third#canary")
    for route in proxy._routes.values():
        route.listener.close()
    proxy._admin.close()
