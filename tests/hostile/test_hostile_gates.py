"""Every check before a release x every answer of what it asks: none opens the gate but the one that says yes.

A new check joins by itself: every port of the environment leads to the server that answers so.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from answers import ANSWERS, Server, hostile_server
from calls import Ends, against, deadline_s, github, pagerduty, prometheus
from prefect import runtime
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from pydantic import SecretStr
from test_hostile_google import ANSWERS as GRPC_ANSWERS
from test_hostile_google import Hostile, hostile, plain  # noqa: F401  # fixtures

import blocks
from blocks import files
from blocks.environment import Environment
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
)
"""What every check is asked with here. `test_hostile_http` makes every call with every way to answer that there is."""

LARGE = {"a compressed bomb", "more than the limit", "a name without an end"}
"""`test_hostile_google` has them for each call."""

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


def moved(written: Environment, url: str, at: Ends) -> Environment:
    """The environment with everything that it asks at ``url`` and ``at.grpc``."""
    port = url.split(":")[2].split("/")[0]
    database = blocks.MongoDB(
        uri=given(f"mongodb://127.0.0.1:{port}/?directConnection=true"),
        database="x",
        timeout_s=MONGODB_S,
        connect_timeout_s=MONGODB_S,
    )
    gates = written.gates.model_copy(update={"alerts": ("ErrorBudgetBurn",), "not_needed": {}})
    ports: dict[str, Any] = {
        "code_host": github(url),
        "tickets": github(url),
        "pagers": [pagerduty(url)],
        "registry": blocks.Registry(base_url=url, username="u", token=given("t"), timeout_s=deadline_s()),
        "prometheus": prometheus(url),
        "cloud_run": blocks.CloudRun(
            project="p",
            region="r",
            api_url=at.rest or url,
            api_endpoint=at.grpc,
            read_timeout_s=deadline_s(),
            write_timeout_s=deadline_s(),
        ),
        "secret_manager": blocks.SecretManager(
            project="p", api_endpoint=at.grpc, names=("mongodb-uri",), timeout_s=deadline_s()
        ),
        "mongodb": database,
        "migrations": Migrations(folder=str(ROOT / "rehearsal" / "migrations"), services=(BACKEND,)),
        "gates": gates,
        "release_tracker": None,
        "channels": [],
        "atlas": None,
    }
    return written.model_copy(update=ports)


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
