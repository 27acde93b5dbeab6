"""The stand-in for the container registry."""

import hashlib
import re
from typing import Any

import pytest

REPOSITORY = "ghcr.io/geoaziz/ethixai-backend"
NAME = "geoaziz/ethixai-backend"
MANIFESTS = f"/registry/v2/{NAME}/manifests"
OCI = {"Accept": "application/vnd.oci.image.manifest.v1+json"}


async def pass_for(stand_ins: Any, path: str) -> dict[str, str]:
    """The headers with which ``path`` may be read, by way of the challenge."""
    refused = await stand_ins.http.get(path, headers={"Authorization": ""})
    assert refused.status_code == 401
    challenge = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers["www-authenticate"]))
    answer = await stand_ins.http.get(challenge.pop("realm"), params=challenge)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_an_image_is_pulled_as_any_client_does_it(stand_ins: Any) -> None:
    """Challenge, pass, manifest by tag, the same by digest, its config blob: all digests are those of the bytes."""
    digest = stand_ins.vendors.registry.publish(REPOSITORY, "sha-abc123", {"BEHAVIOUR": "errors=0.05"})
    headers = {**await pass_for(stand_ins, f"{MANIFESTS}/sha-abc123"), **OCI}
    head = await stand_ins.http.head(f"{MANIFESTS}/sha-abc123", headers=headers)
    assert (head.status_code, head.headers["docker-content-digest"]) == (200, digest)
    assert head.headers["content-type"] == OCI["Accept"]
    manifest = await stand_ins.http.get(f"{MANIFESTS}/{digest}", headers=headers)
    assert "sha256:" + hashlib.sha256(manifest.content).hexdigest() == digest
    assert head.headers["content-length"] == str(len(manifest.content))
    config = manifest.json()["config"]
    blob = await stand_ins.http.get(f"/registry/v2/{NAME}/blobs/{config['digest']}", headers=headers)
    assert ("sha256:" + hashlib.sha256(blob.content).hexdigest(), len(blob.content)) == (
        config["digest"],
        config["size"],
    )
    assert blob.json()["config"]["Env"] == ["BEHAVIOUR=errors=0.05"]


async def test_a_token_is_for_one_repository(stand_ins: Any) -> None:
    """With the pass for another repository the challenge comes again; ``/v2/`` takes any pass."""
    stand_ins.vendors.registry.publish(REPOSITORY, "sha-abc123", {})
    other = await pass_for(stand_ins, "/registry/v2/geoaziz/other/manifests/healthy")
    assert (await stand_ins.http.get(f"{MANIFESTS}/sha-abc123", headers=other)).status_code == 401
    assert (await stand_ins.http.get("/registry/v2/", headers=other)).status_code == 200
    assert (await stand_ins.http.get("/registry/v2/")).status_code == 401


async def test_a_wrong_password_gets_no_token(stand_ins: Any) -> None:
    """The token server refuses it, though the image is public; a right one is as good as none."""
    asked = {"service": "registry", "scope": f"repository:{NAME}:pull"}
    statuses = [
        (await stand_ins.http.get("/registry/token", params=asked, auth=("releaser", password))).status_code
        for password in ("wrong", "good")
    ]
    assert statuses == [401, 200]


@pytest.mark.parametrize("reference", ["sha-fffffff", "latest", "sha256:" + "0" * 64])
async def test_an_image_that_is_not_there(stand_ins: Any, reference: str) -> None:
    """An unknown tag or digest is a 404 in the specification's words, and has no config."""
    headers = {**await pass_for(stand_ins, f"{MANIFESTS}/{reference}"), **OCI}
    answer = await stand_ins.http.get(f"{MANIFESTS}/{reference}", headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (404, "MANIFEST_UNKNOWN")
    separator = "@" if reference.startswith("sha256:") else ":"
    assert stand_ins.vendors.registry.config(f"{REPOSITORY}{separator}{reference}") is None


async def test_a_client_that_does_not_accept_oci_manifests_gets_a_404(stand_ins: Any) -> None:
    """A client that accepts only Docker's old manifests gets no OCI manifest."""
    stand_ins.vendors.registry.publish(REPOSITORY, "sha-abc123", {})
    headers = await pass_for(stand_ins, f"{MANIFESTS}/sha-abc123")
    headers["Accept"] = "application/vnd.docker.distribution.manifest.v2+json"
    answer = await stand_ins.http.get(f"{MANIFESTS}/sha-abc123", headers=headers)
    assert answer.status_code == 404
    assert "accept header" in answer.text


@pytest.mark.parametrize(
    ("tag", "behaviour"),
    [
        ("healthy", "healthy"),
        ("errors-0.05", "errors=0.05"),
        ("errors_after-30-0.05", "errors_after=30:0.05"),
        ("slow-6.0", "slow=6.0"),
        ("slow-6.0-0.2__leak-8", "slow=6.0@0.2,leak=8"),
    ],
)
def test_a_tag_that_is_a_behaviour_exists(stand_ins: Any, tag: str, behaviour: str) -> None:
    """It exists without being published, by tag and then by digest."""
    registry = stand_ins.vendors.registry
    assert registry.config(f"{REPOSITORY}:{tag}") == {"BEHAVIOUR": behaviour}
    digest = registry.publish(REPOSITORY, tag, {"BEHAVIOUR": behaviour})
    assert registry.config(f"{REPOSITORY}@{digest}") == {"BEHAVIOUR": behaviour}


def test_two_releases_are_never_one_image(stand_ins: Any) -> None:
    """The same content under another commit's tag has another digest; a tag that is moved points to the new one."""
    registry = stand_ins.vendors.registry
    first = registry.publish(REPOSITORY, "sha-1", {"A": "1"})
    assert registry.publish(REPOSITORY, "sha-2", {"A": "1"}) != first
    assert registry.publish(REPOSITORY, "sha-1", {"A": "1"}) == first
    registry.publish(REPOSITORY, "sha-1", {"A": "2"})
    assert registry.config(f"{REPOSITORY}:sha-1") == {"A": "2"}
    assert registry.config(f"{REPOSITORY}@{first}") == {"A": "1"}
