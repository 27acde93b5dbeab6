"""What every block has in common: how the Prefect UI shows it, and that it keeps its secrets."""

import asyncio
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites import BlockStandardTestSuite
from pydantic import BaseModel, SecretStr, ValidationError

import blocks
from blocks.base import PerLoop
from blocks.files import secret_fields
from blocks.http import HttpBlock
from playbook.messages.facts import Audience

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "very-secret-token"
EVERY = [getattr(blocks, name) for name in blocks.__all__]


@pytest.mark.parametrize("block", EVERY, ids=lambda block: block.__name__)
class TestEveryBlockMeetsPrefectsStandard(BlockStandardTestSuite):
    """Prefect's own suite: described, documented, every field described, with an example that loads it."""

    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        """Replaced by the parametrization."""
        raise NotImplementedError

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """A logo would be fetched from elsewhere: the UI works without it, also where there is no network."""
        assert block._logo_url is None

    def test_every_field_has_a_title(self, block: type[Block]) -> None:
        """The UI labels it with that, and not with the name of a variable."""
        for name, field in block.model_fields.items():
            assert field.title or Block.annotation_refers_to_block_class(field.annotation), name


MAKERS = {
    "Atlas": lambda secret: blocks.Atlas(
        public_key="p", private_key=secret, group="g", cluster="c", restore_cluster="r", restore_uri=secret
    ),
    "Slack": lambda secret: blocks.Slack(token=secret, channels={Audience.RELEASES: "C0"}),
    "GitHub": lambda secret: blocks.GitHub(repository="a/b", token=secret),
    "Sentry": lambda secret: blocks.Sentry(organization="a", projects=["b"], token=secret),
    "ServerNotices": lambda secret: blocks.ServerNotices(releases=secret, incidents=secret, routing_key=secret),
    "PagerDuty": lambda secret: blocks.PagerDuty(routing_key=secret, api_token=secret),
    "MongoDB": lambda secret: blocks.MongoDB(uri=secret, database="ethixai"),
    "Registry": lambda secret: blocks.Registry(token=secret),
    "Prometheus": lambda secret: blocks.Prometheus(url="http://x", bearer=secret),
}
"""Each block that holds a secret, made with one."""


def test_each_block_with_a_secret_is_tested() -> None:
    """A new reference joins; no block has a field that Prefect would store as a secret."""
    assert {block.__name__ for block in EVERY if secret_fields(block)} == set(MAKERS)
    assert not [block.__name__ for block in EVERY if block.model_json_schema()["secret_fields"]]


@pytest.mark.parametrize("name", MAKERS)
def test_a_secret_is_not_shown(name: str) -> None:
    """Neither by repr nor by str nor by what is stored."""
    block = MAKERS[name](SecretStr(TOKEN))
    shown = f"{block!r} {block} {block.model_dump_json()} {block.model_dump()}"
    stored = block.model_dump_json(context={"include_secrets": True})
    assert TOKEN not in f"{shown} {stored}"


@pytest.mark.parametrize("name", MAKERS)
def test_a_block_refuses_a_secret_in_place_of_a_reference(name: str) -> None:
    """As the first edition saved it, or as a person types it into the UI; the value is not repeated."""
    with pytest.raises(ValidationError, match=r"a block holds no secret.*apply its environment file again") as raised:
        MAKERS[name](TOKEN)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("flaw", ["two words", "a\nline", "", "schlüssel", "tab\t"], ids=repr)
def test_a_secret_with_a_flaw_is_refused_and_not_shown(name: str, flaw: str) -> None:
    """An HTTP library would refuse it later, and print it."""
    secret = flaw and TOKEN + flaw + TOKEN
    with pytest.raises(ValidationError, match="one word of printable ASCII") as raised:
        MAKERS[name](SecretStr(secret))
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize("name", MAKERS)
def test_the_newline_of_a_file_is_taken_off(name: str) -> None:
    """A secret that was written with an editor works."""
    assert MAKERS[name](SecretStr(TOKEN + "\n")) == MAKERS[name](SecretStr(TOKEN))


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://", "http://[::1", "https://me:secret@x"])
def test_a_wrong_address_is_refused(url: str) -> None:
    """When the block is made; one that carries a password would be quoted in messages."""
    with pytest.raises(ValidationError, match="url") as raised:
        blocks.Prometheus(url=url)
    assert "secret" not in str(raised.value)


def test_importing_the_blocks_loads_no_vendors_library() -> None:
    """They are slow to load; a worker pays when it first calls one, and not for those it never calls."""
    code = (
        "import sys, blocks, blocks.files; "
        "print(sorted({'grpc', 'google.cloud', 'google.auth', 'google.api_core', 'prometheus_api_client', 'pymongo'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_client_is_made_once_for_a_loop() -> None:
    """The second call in a loop gets the first one's."""
    clients: PerLoop[object] = PerLoop()
    assert clients.get(object) is clients.get(object)


def test_every_loop_has_its_own_client() -> None:
    """A pool of connections cannot be used from another loop."""
    clients: PerLoop[object] = PerLoop()

    async def get() -> object:
        return clients.get(object)

    assert asyncio.run(get()) is not asyncio.run(get())


async def test_a_block_is_copied_without_its_clients() -> None:
    """Copies and pickles of a block that has spoken are equal to it, and speak with clients of their own."""
    block = HttpBlock()
    client = block._clients.get(object)
    for other in (copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        assert other == block
        assert other._clients.get(object) is not client


def test_no_value_of_ours_looks_like_a_mapping_to_prefect() -> None:
    """Prefect copies every argument of a task with ``dict``, which takes anything with ``keys`` for a mapping."""

    def below(kind: type[BaseModel]) -> list[type[BaseModel]]:
        return [kind, *(one for sub in kind.__subclasses__() for one in below(sub))]

    ours = [kind for kind in below(BaseModel) if kind.__module__.split(".")[0] in ("playbook", "blocks")]
    assert [kind.__name__ for kind in ours if hasattr(kind, "keys") or "keys" in kind.model_fields] == []
