"""Every check before a release x every answer of what it asks: none opens the gate but the one that says yes.

A new check joins by itself: every port of the environment leads to the server that answers so.
"""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from answers import ANSWERS, Server, hostile_server
from calls import Ends, against, deadline_s
from prefect import runtime
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import SecretStr
from test_hostile_google import ANSWERS as GRPC_ANSWERS
from test_hostile_google import Hostile, hostile, plain  # noqa: F401  # fixtures

import blocks
from blocks import files
from blocks.base import OutsideBlock
from blocks.environment import Environment
from blocks.plug import plug_of
from blocks.secret_reference import SecretReference
from playbook.checklist.items import Item, Topic
from playbook.migration.plan import Migrations
from playbook.release.plan import Order
from playbook.release.version import Image, Version
from tasks import windows
from tasks.checklist import check_item

ROOT = Path(__file__).resolve().parents[2]
MONGODB_S = 0.2
"""It waits for an answer of its own protocol, which never comes here."""
PREFECT_S = 1.0
ENDS_S = 60.0
BACKEND = "ethixai-backend"
DIGEST = "sha256:" + "0" * 64
ORDER = Order(
    version=Version.parse("v20251116-abc123"), images={BACKEND: Image(repository="x", digest=DIGEST)}, canary_percent=10
)
SHAPES = [name for name in ANSWERS if name.startswith("JSON")][:9]
CHOSEN = (
    *("401", "403", "404", "429", "429 with Retry-After", "403 with Retry-After", "403 without requests left", "500"),
    *("503", "silence", "nothing", "reset in the body", "an empty body", "204", "a login page", "a login page as JSON"),
    *("no checks, and no commits", "lists that are empty", "deep nesting", "302 to nowhere", *SHAPES),
    *("JSON that is cut off", *(name for name in ANSWERS if "a time without a zone" in name)),
)
"""What every check is asked with here. `test_hostile_http` makes every call with every way to answer that there is."""

LARGE = {"a compressed bomb", "more than the limit", "a name without an end"}
"""`test_hostile_google` has them for each call."""

READS = re.compile(r"GET|HEAD|(?:Get|List|Search|Access)\w+")
"""The methods of HTTP and of Google's gRPC services that change nothing."""
ELSEWHERE = {blocks.EthixAI}
"""Blocks without an address of their own: they are told the URL of a service."""
ADDED: dict[str, Any] = {
    "mongodb": blocks.MongoDB(uri=SecretReference("env:URI"), database="x", connect_timeout_s=0.2),
    "atlas": blocks.Atlas(
        public_key="p", private_key=SecretReference("env:KEY"), group="g", cluster="c", restore_cluster="r"
    ),
    "migrations": Migrations(folder=str(ROOT / "rehearsal" / "migrations"), services=(BACKEND,)),
}
"""What an environment may have, and production's file leaves out."""
ASKS_NOTHING = {Topic.FREEZE: "the windows stand in the environment file"}
MAY_PASS: dict[Topic, dict[str, str]] = {
    Topic.LINE: {"404": "Prefect's answer where a variable is not set"},
}
"""Check -> the answers that say yes, with the reason."""


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Server]:
    """It gives each answer at a path of its own."""
    async with hostile_server() as running:
        yield running


@pytest.fixture(autouse=True)
def as_a_last_try(without_an_account: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is away on the last try cannot be told. Prefect's client does not try again either, and is soon given up."""
    monkeypatch.setattr(windows, "ANSWERS_S", PREFECT_S)
    last = patch.dict(runtime.task_run.FIELDS, {"run_count": lambda: 99})
    with disable_run_logger(), last, temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        yield


def given(text: str) -> SecretReference:
    """A secret that this process has."""
    return SecretReference.given(SecretStr(text))


@pytest.fixture(scope="module")
async def written() -> Environment:
    """Production as its file describes it."""
    return await files.read(ROOT / "environments" / "production.toml", with_secrets=False)


def led(block: OutsideBlock, url: str, at: Ends) -> OutsideBlock:
    """The same block with its addresses at ``url`` and ``at.grpc``, a secret for each reference, and short deadlines.

    Fails where it finds no address in the block.
    """
    fields = {name: getattr(block, name) for name in type(block).model_fields}
    addresses = {name: url for name in fields if name == "url" or name.endswith("_url")}
    addresses |= {name: at.grpc for name in fields if name == "api_endpoint"}
    if isinstance(block, blocks.CloudRun):
        addresses["api_url"] = at.rest or url
    if isinstance(block, blocks.MongoDB):
        port = url.split(":")[2].split("/")[0]
        addresses["uri"] = given(f"mongodb://127.0.0.1:{port}/?directConnection=true")
    assert addresses or type(block) in ELSEWHERE, f"{type(block).__name__}: name the fields that are its addresses"
    secrets = {name: given("t" * 32) for name, one in fields.items() if isinstance(one, SecretReference)}
    limit_s = MONGODB_S if isinstance(block, blocks.MongoDB) else deadline_s()
    deadlines = dict.fromkeys((name for name in fields if name.endswith("timeout_s")), limit_s)
    return type(block).model_validate({**fields, **secrets, **deadlines, **addresses})


def ports() -> tuple[str, ...]:
    """Every field of an environment that holds a vendor."""
    return tuple(name for name, field in Environment.model_fields.items() if plug_of(field))


def moved(written: Environment, url: str, at: Ends) -> Environment:
    """The environment with everything that it asks at ``url`` and ``at.grpc``."""
    whole = written.model_copy(update=ADDED)
    found: dict[str, Any] = {}
    for name in ports():
        held = getattr(whole, name)
        assert held, f"{name} is in neither environments/production.toml nor ADDED: no answer of it would be tried"
        found[name] = [led(one, url, at) for one in held] if isinstance(held, list) else led(held, url, at)
    gates = written.gates.model_copy(update={"alerts": ("ErrorBudgetBurn",), "not_needed": {}})
    return whole.model_copy(update={**found, "gates": gates})


def test_every_port_of_an_environment_leads_to_the_hostile_server(written: Environment) -> None:
    """A port that is added later is here by itself, or this fails and names it."""
    env = moved(written, "http://127.0.0.1:1/x", Ends("127.0.0.1:2", ""))
    texts = [
        (f"{name}.{field}", value)
        for name in ports()
        for one in (getattr(env, name) if isinstance(getattr(env, name), list) else [getattr(env, name)])
        for field in type(one).model_fields
        if isinstance(value := getattr(one, field), str)
    ]
    assert [place for place, value in texts if "127.0.0.1" in value]
    assert not [place for place, value in texts if re.search(r"://(?!127\.0\.0\.1)|^[\w-]+(?:\.[\w-]+)+$", value)]


async def asked(written: Environment, topic: Topic, name: str, url: str, at: Ends) -> Item:
    """One check, asked once, within a time. Staging answers as production does, with ``name``."""
    with against(name), temporary_settings({PREFECT_API_URL: url}):
        env = moved(written, url, at)
        async with asyncio.timeout(ENDS_S):
            found: Item = await inspect.unwrap(check_item)(env, topic, ORDER, staging=env)
    return found


@pytest.mark.parametrize("topic", [topic for topic in Topic if topic not in ASKS_NOTHING])
async def test_no_answer_over_http_opens_a_gate(
    topic: Topic,
    written: Environment,
    server: Server,
    hostile: tuple[Hostile, Ends],  # noqa: F811
    plain: None,  # noqa: F811
) -> None:
    """FAIL or CANNOT TELL, and never an error of another kind: an answer that is not a yes stops a release."""
    handler, ends = hostile
    handler.answer = GRPC_ANSWERS["status UNAVAILABLE"]
    found = await asyncio.gather(
        *(asked(written, topic, name, server.url(name), Ends(ends.grpc, "")) for name in CHOSEN)
    )
    items = dict(zip(CHOSEN, found, strict=True))
    assert_only_read(server, handler)
    assert {name for name, item in items.items() if item.is_met} <= set(MAY_PASS.get(topic, {})), items
    assert all(item.is_met or item.model_copy(update={"blocks": True}).is_open for item in found)


@pytest.mark.parametrize("topic", [Topic.SECRETS, Topic.ROLLBACK_PLAN])
async def test_no_answer_over_grpc_opens_a_gate(
    topic: Topic,
    written: Environment,
    server: Server,
    hostile: tuple[Hostile, Ends],  # noqa: F811
    plain: None,  # noqa: F811
) -> None:
    """Cloud Run's v1 API is well, and what is asked over gRPC is not."""
    handler, ends = hostile
    for name in sorted(GRPC_ANSWERS.keys() - LARGE):
        handler.answer = GRPC_ANSWERS[name]
        found = await asked(written, topic, name, server.url("a token that ends never"), ends)
        assert not found.is_met, f"{name}: {found}"
    assert_only_read(server, handler)


def assert_only_read(server: Server, handler: Hostile) -> None:
    """By what the world saw: no check, whatever it was answered, has asked for a change."""
    methods = {method for method, _ in server.seen} | set(handler.seen)
    assert methods
    assert not {one for one in methods if not READS.fullmatch(one)}
