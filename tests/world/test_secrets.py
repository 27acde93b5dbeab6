"""Secret Manager through the official client."""

import pytest
from google.api_core import exceptions
from google.cloud import secretmanager_v1

from rehearsal.world.secret_manager import crc32c

PROJECT = "ethixai-production"
SECRET = f"projects/{PROJECT}/secrets/slack-token"


async def test_the_newest_version_is_what_latest_names(cloud):
    """Two versions: latest is the second, each is read by number, and the list is newest first."""
    await cloud.world.put_secret(PROJECT, "slack-token", "one")
    await cloud.world.put_secret(PROJECT, "slack-token", "two")
    latest = await cloud.secrets.access_secret_version(name=f"{SECRET}/versions/latest")
    assert (latest.name, latest.payload.data) == (f"{SECRET}/versions/2", b"two")
    assert latest.payload.data_crc32c == crc32c(b"two")
    first = await cloud.secrets.access_secret_version(name=f"{SECRET}/versions/1")
    assert first.payload.data == b"one"
    listed = [v.name async for v in await cloud.secrets.list_secret_versions(parent=SECRET)]
    assert listed == [f"{SECRET}/versions/2", f"{SECRET}/versions/1"]


async def test_a_client_adds_a_version(cloud):
    """AddSecretVersion makes the new latest one."""
    await cloud.world.put_secret(PROJECT, "slack-token", "one")
    added = await cloud.secrets.add_secret_version(parent=SECRET, payload={"data": b"two"})
    assert added.name == f"{SECRET}/versions/2"
    got = await cloud.secrets.get_secret_version(name=f"{SECRET}/versions/latest")
    assert got.state == secretmanager_v1.SecretVersion.State.ENABLED


async def test_a_disabled_version_is_not_given_out(cloud):
    """Its metadata is there, its bytes are FAILED_PRECONDITION."""
    await cloud.world.put_secret(PROJECT, "slack-token", "one", state="DISABLED")
    with pytest.raises(exceptions.FailedPrecondition, match="DISABLED"):
        await cloud.secrets.access_secret_version(name=f"{SECRET}/versions/latest")


async def test_a_secret_says_when_it_expires(cloud):
    """GetSecret has the expiry that was set."""
    await cloud.world.put_secret(PROJECT, "slack-token", "one", expires_at=1_800_000_000)
    assert (await cloud.secrets.get_secret(name=SECRET)).expire_time.timestamp() == 1_800_000_000


async def test_an_unknown_secret_is_not_found(cloud):
    """Neither the secret nor a version of it."""
    with pytest.raises(exceptions.NotFound):
        await cloud.secrets.get_secret(name=SECRET)
    with pytest.raises(exceptions.NotFound):
        await cloud.secrets.access_secret_version(name=f"{SECRET}/versions/latest")


def test_the_checksum_is_crc32c():
    """The check value of CRC-32C."""
    assert crc32c(b"123456789") == 0xE3069283
