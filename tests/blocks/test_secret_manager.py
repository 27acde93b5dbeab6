"""Secret Manager: what is known of a secret, and the secret itself for an environment file."""

import pytest
from pydantic import SecretStr

from blocks import SecretManager
from playbook.checklist.checks import SecretState
from playbook.errors import Refused, Transient
from rehearsal.world.remote import RemoteWorld

PROJECT = "ethixai-production"


@pytest.fixture
def secrets(world: RemoteWorld) -> SecretManager:
    """The world's, which holds nothing."""
    return SecretManager(project=PROJECT, api_endpoint=world.grpc_endpoint)


async def test_a_secret_that_lasts_is_enabled(secrets: SecretManager, world: RemoteWorld) -> None:
    """It exists, its newest version can be read, and it has no end."""
    await world.put_secret(PROJECT, "mongodb-uri", "mongodb://x")
    assert await secrets.state("mongodb-uri") == SecretState(name="mongodb-uri", exists=True, is_enabled=True)


async def test_an_expiry_is_seen(secrets: SecretManager, world: RemoteWorld) -> None:
    """In unix seconds; the checklist decides whether it is too soon."""
    await world.put_secret(PROJECT, "token", "x", expires_at=2_000_000_000.0)
    assert (await secrets.state("token")).expires_at_s == 2_000_000_000.0


async def test_a_disabled_version_is_seen(secrets: SecretManager, world: RemoteWorld) -> None:
    """A service that starts now would not get it."""
    await world.put_secret(PROJECT, "token", "x", state="DISABLED")
    assert not (await secrets.state("token")).is_enabled


async def test_a_missing_secret_is_an_answer(secrets: SecretManager) -> None:
    """The checklist says that it is missing, rather than failing to look."""
    assert await secrets.state("nothing") == SecretState(name="nothing", exists=False, is_enabled=False)


async def test_a_reference_gives_the_secret_and_shows_it_to_nobody(secrets: SecretManager, world: RemoteWorld) -> None:
    """It comes as a SecretStr."""
    await world.put_secret(PROJECT, "slack", "xoxb-1")
    found = await secrets.value(f"projects/{PROJECT}/secrets/slack/versions/latest")
    assert found.get_secret_value() == "xoxb-1"
    assert "xoxb-1" not in repr(found)


async def test_a_secret_that_is_no_text_is_refused_without_a_word_of_it(secrets: SecretManager, world) -> None:
    """Neither the sentence nor its cause quotes what could not be read."""
    await world.put_secret(PROJECT, "slack", "schlüssel")
    with pytest.raises(Refused, match="is not text") as raised:
        await secrets.value(f"projects/{PROJECT}/secrets/slack/versions/latest")
    assert "schl" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.parametrize(("code", "ours"), [("PERMISSION_DENIED", Refused), ("UNAVAILABLE", Transient)])
async def test_a_failing_look_is_ours(secrets: SecretManager, world: RemoteWorld, code: str, ours) -> None:
    """A permission is named; one that is away is asked again."""
    await world.fault("SecretManagerService.GetSecret", code=code)
    with pytest.raises(ours, match="projects/ethixai-production/secrets/token"):
        await secrets.state("token")


async def test_a_new_version_is_added_once(secrets: SecretManager, world: RemoteWorld) -> None:
    """The newest version is what was put; the same value again adds none."""
    await world.put_secret(PROJECT, "mongodb-uri", "mongodb://old")
    name = f"projects/{PROJECT}/secrets/mongodb-uri/versions"
    for _ in range(2):
        await secrets.put("mongodb-uri", SecretStr("mongodb://new"))
    assert (await secrets.value(f"{name}/latest")).get_secret_value() == "mongodb://new"
    with pytest.raises(Refused):
        await secrets.value(f"{name}/3")


async def test_a_version_cannot_be_added_to_nothing(secrets: SecretManager) -> None:
    """The secret is named, the value is not."""
    with pytest.raises(Refused, match="nothing") as raised:
        await secrets.put("nothing", SecretStr("mongodb://hunter2"))
    assert "hunter2" not in str(raised.value)
