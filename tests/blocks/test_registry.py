"""The registry: a tag is a digest, or there is no such tag."""

import pytest
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blocks import Registry
from blocks.secret_reference import SecretReference
from playbook.errors import Refused, Transient
from playbook.release.version import Image
from rehearsal.world.serving import serve

REPOSITORY = "ghcr.io/geoaziz/ethixai-backend"


@pytest.fixture
def registry(stand_ins) -> Registry:
    """The stand-in's registry, signed in."""
    return Registry(base_url=f"{stand_ins.url}/registry", username="ci", token=SecretStr("token"))


async def test_a_tag_is_pinned_to_its_digest(registry: Registry, stand_ins) -> None:
    """Through the challenge that a registry answers first."""
    digest = stand_ins.vendors.registry.publish(REPOSITORY, "sha-abc123", {})
    assert await registry.image(REPOSITORY, "sha-abc123") == Image(repository=REPOSITORY, digest=digest)


async def test_a_public_image_needs_no_account(registry: Registry, stand_ins) -> None:
    """A pass is asked for without a name."""
    stand_ins.vendors.registry.publish(REPOSITORY, "sha-abc123", {})
    assert await registry.model_copy(update={"token": None}).image(REPOSITORY, "sha-abc123") is not None


async def test_no_such_tag_is_an_answer(registry: Registry) -> None:
    """CI has not built it: the caller says so in its own words."""
    assert await registry.image(REPOSITORY, "sha-000000") is None


async def test_a_wrong_token_is_named(registry: Registry) -> None:
    """By its field."""
    with pytest.raises(Refused, match=r"registry\.token"):
        await registry.model_copy(update={"token": SecretReference.given(SecretStr("wrong"))}).image(
            REPOSITORY, "sha-abc123"
        )


async def test_a_registry_that_is_away_is_asked_again(registry: Registry, stand_ins) -> None:
    """A build check that fails for a minute does not fail a release."""
    stand_ins.vendors.fault("registry", status=503)
    with pytest.raises(Transient):
        await registry.image(REPOSITORY, "sha-abc123")


async def test_a_token_is_told_to_nobody_else() -> None:
    """A challenge that points to another host in the clear is refused before anything is sent there."""

    async def challenge(_: Request) -> Response:
        return Response(status_code=401, headers={"WWW-Authenticate": 'Bearer realm="http://elsewhere.example/token"'})

    async with serve(Starlette(routes=[Route("/{path:path}", challenge)])) as served:
        registry = Registry(base_url=served.url, username="ci", token=SecretStr("token"))
        with pytest.raises(Refused, match=r"elsewhere\.example"):
            await registry.image(REPOSITORY, "sha-abc123")
