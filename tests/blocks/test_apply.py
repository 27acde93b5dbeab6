"""Applying a file to a real Prefect server, and opening the environment from there."""

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect import flow, get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed, Running

import blocks
from blocks import Environment, files
from blocks.__main__ import main
from blocks.moved import held_at_old_place
from playbook.errors import BadRequest
from rehearsal.server import Server, prefect_server

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ROOT / "environments/production.toml"
TOKEN = "xoxb-1-very-secret"
WEBHOOKS = {"releases": "C0RELEASES", "incidents": "C0INCIDENTS", "platform": "C0PLATFORM"}
IMPATIENT = {
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "1",
    "PREFECT_SERVER_SERVICES_FOREMAN_WORK_QUEUE_LAST_POLLED_TIMEOUT_SECONDS": "3",
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
}
"""The server notices in seconds what takes it minutes in production."""


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A Prefect server on its own database; this process is a client of it."""
    async with prefect_server(tmp_path_factory.mktemp("prefect"), environ=IMPATIENT) as running:
        with temporary_settings({PREFECT_API_URL: running.api_url}):
            yield running


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, all_stand_ins) -> Iterator[Path]:
    """Production's file, with each secret in an environment variable; those of its server's notices are real ones."""
    lines = PRODUCTION.read_text().splitlines()
    text = "\n".join(
        f'{line.split("=")[0]}= {{env = "BLOCKS_APPLY_TOKEN"}}' if " = {secret_manager" in line else line
        for line in lines
    )
    before, table, after = text.partition("[server_notices]\n")
    for name in (*WEBHOOKS, "routing_key"):
        after = after.replace('{env = "BLOCKS_APPLY_TOKEN"}', f'{{env = "BLOCKS_NOTICES_{name.upper()}"}}', 1)
    text = f'{before}{table}events_url = "{all_stand_ins.url}/pagerduty"\n{after}'
    path = tmp_path_factory.mktemp("environments") / "production.toml"
    path.write_text(text)
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("BLOCKS_APPLY_TOKEN", TOKEN)  # as the worker has it; `apply` does without
        environ.setenv("BLOCKS_NOTICES_ROUTING_KEY", "0123456789abcdef0123456789abcdef")
        for name, channel in WEBHOOKS.items():
            environ.setenv(f"BLOCKS_NOTICES_{name.upper()}", f"{all_stand_ins.url}/slack/hooks/T0ETHIXAI/{channel}")
        environ.setattr("playbook.messages.server_notices.START_S", 10)
        environ.setattr("playbook.messages.server_notices.NET_S", 15)
        yield path


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    said: str


def apply(*paths: Path) -> Done:
    """The command, in this process: starting another takes longer than what it does."""
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        status = main(["apply", *map(str, paths)])
    return Done(status, said.getvalue())


@pytest.fixture(scope="module")
def applied(server: Server, file: Path) -> Done:
    """What applying it said."""
    return apply(file)


def test_applying_says_what_it_did(applied: Done) -> None:
    """One line for each block, and no secret. There is no deployment yet whose form would get its choices."""
    assert applied.status == 0, applied.said
    lines = applied.said.splitlines()
    assert len(lines) == len(blocks.__all__) + 2
    assert lines[-1].startswith("the server has 1")
    assert lines[-2].startswith(
        "saved production (ethixai-ai-core, ethixai-backend, ethixai-frontend; policy playbook)"
    )
    assert TOKEN not in applied.said


async def test_an_environment_opens_as_it_was_applied(applied: Done) -> None:
    """Its nested blocks have their types, and refer to their secrets."""
    environment = await Environment.open("production")
    (slack,), (pager,) = environment.channels, environment.pagers
    assert isinstance(slack, blocks.Slack)
    assert isinstance(pager, blocks.PagerDuty)
    assert isinstance(environment.tickets, blocks.GitHub)
    assert str(slack.token) == "env:BLOCKS_APPLY_TOKEN"
    assert (await slack.token.read()).get_secret_value() == TOKEN
    assert environment.service_names[0] == "ethixai-ai-core"


async def test_the_server_holds_no_secret(applied: Done, server: Server) -> None:
    """A person with the server's login who asks for every secret sees references only."""
    async with server.client as client:
        by_name = "/block_types/slug/ethixai-environment/block_documents/name/production?include_secrets=true"
        every = await client.post("/block_documents/filter", json={"include_secrets": True})
        one = await client.get(by_name)
    for shown in (every, one):
        assert shown.status_code == 200
        assert TOKEN not in shown.text
        assert "env:BLOCKS_APPLY_TOKEN" in shown.text
        assert "C0RELEASES1" in shown.text


async def test_a_block_of_the_first_edition_is_to_be_applied_again(
    applied: Done, server: Server, file: Path, tmp_path: Path
) -> None:
    """It holds the secret itself: it is refused without a word of it, and applying its file takes the secret away."""
    documents = "/block_types/slug/ethixai-environment/block_documents/name"
    async with server.client as client:
        found = (await client.get(f"{documents}/production?include_secrets=true")).json()
        channels = [found["data"]["channels"][0] | {"token": TOKEN}]
        data = found["data"] | {"name": "first-edition", "channels": channels}
        saved = {key: found[key] for key in ("block_schema_id", "block_type_id")} | {"data": data}
        assert (await client.post("/block_documents/", json=saved | {"name": "first-edition"})).status_code == 201
        with pytest.raises(BadRequest, match="Apply its file again") as raised:
            await Environment.open("first-edition")
        assert TOKEN not in f"{raised.value} {raised.value.__cause__} {raised.value.__cause__.__cause__}"
        path = tmp_path / "first-edition.toml"
        text = await asyncio.to_thread(file.read_text)
        await asyncio.to_thread(path.write_text, text.replace('name = "production"', 'name = "first-edition"', 1))
        assert (await asyncio.to_thread(apply, path)).status == 0
        assert TOKEN not in (await client.get(f"{documents}/first-edition?include_secrets=true")).text
    assert str((await Environment.open("first-edition")).channels[0].token) == "env:BLOCKS_APPLY_TOKEN"


def test_applying_again_overwrites(applied: Done, server: Server, file: Path, tmp_path: Path) -> None:
    """The block of that name is updated."""
    changed = tmp_path / "production.toml"
    changed.write_text(file.read_text().replace("C0RELEASES1", "C0RELEASES2"))
    assert apply(changed).status == 0
    shown = httpx.get(
        f"{server.api_url}/block_types/slug/ethixai-environment/block_documents/name/production",
        params={"include_secrets": True},
    )
    assert apply(file).status == 0  # as the tests after this one expect it
    assert "C0RELEASES2" in shown.text


async def test_the_services_stay_where_a_release_under_way_holds_them(
    applied: Done, file: Path, tmp_path: Path
) -> None:
    """Recovery and rollback would look at the new place, where there is no lease. Once it has ended they may move."""
    moved, text = tmp_path / "moved.toml", await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(moved.write_text, re.sub(r'(?m)^region = ".*"', 'region = "europe-west1"', text))
    here, there = [await files.read(path, with_secrets=False) for path in (file, moved)]

    @flow(name="release")
    async def under_way() -> None:
        """As the release."""

    async with get_client() as client:
        run = await client.create_flow_run(under_way, name="release v1", tags=["production"], state=Running())
        refused = await asyncio.to_thread(apply, moved)
        assert refused.status == 1
        assert refused.said.startswith(
            f"production: its services move from {here.gcloud_flags} to {there.gcloud_flags}, "
            "and these runs may hold some of them: release v1."
        )
        assert (await Environment.open("production")).gcloud_flags == here.gcloud_flags
        assert await held_at_old_place(here) == "", "the same place"
        await client.set_flow_run_state(run.id, Completed(), force=True)
    assert await held_at_old_place(there) == ""


async def test_an_environment_that_was_never_applied_is_named(server: Server) -> None:
    """With the command that makes it."""
    with pytest.raises(BadRequest, match=r"environment: there is no 'nowhere'.*python -m blocks apply"):
        await Environment.open("nowhere")


async def test_an_environment_of_another_version_is_to_be_applied_again(server: Server) -> None:
    """It was saved before a field was needed that is needed now."""
    async with server.client as client:
        kind = (await client.get("/block_types/slug/ethixai-environment")).json()
        schema = (
            await client.post(
                "/block_schemas/filter", json={"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}}
            )
        ).json()[0]
        document = {
            "name": "old",
            "data": {"name": "old"},
            "block_schema_id": schema["id"],
            "block_type_id": kind["id"],
        }
        assert (await client.post("/block_documents/", json=document)).status_code == 201
    with pytest.raises(BadRequest, match="Apply its file again"):
        await Environment.open("old")


def test_a_wrong_file_writes_nothing(server: Server, file: Path, tmp_path: Path) -> None:
    """Not even the environment of the right file beside it."""
    right, wrong = tmp_path / "right.toml", tmp_path / "wrong.toml"
    right.write_text(file.read_text().replace('name = "production"', 'name = "beside"', 1))
    wrong.write_text(file.read_text().replace("us-east1", "").replace("region", "regoin"))
    done = apply(right, wrong)
    assert done.status == 2
    assert "cloud_run.regoin: unknown key; did you mean region?" in done.said
    shown = httpx.get(f"{server.api_url}/block_types/slug/ethixai-environment/block_documents/name/beside")
    assert shown.status_code == 404


def test_a_server_that_is_not_there_is_named(server: Server, file: Path) -> None:
    """The exit status tells it from a wrong file. Why it was not reached is said, too: a certificate, say."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        done = apply(file)
    assert done.status == 1
    assert "http://127.0.0.1:1/api" in done.said
    assert "ConnectError" in done.said


def test_without_a_server_nothing_is_started(file: Path) -> None:
    """Prefect would save to a server of its own, and forget it."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        done = apply(file)
    assert done.status == 1
    assert "PREFECT_API_URL" in done.said


def production_check(path: Path) -> Done:
    """What is missing, as the command says it."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = main(["production-check", str(path)])
    return Done(status, said.getvalue())


def test_what_is_missing_is_said_in_the_order_of_the_guide(applied: Done, server: Server, file: Path) -> None:
    """The server has the block; pool, deployments and workers are named with the command that makes them."""
    done = production_check(file)
    assert done.status == 1
    found = [line.split("  ")[0] for line in done.said.splitlines()]
    assert found == [
        "ok",
        "ok",
        "ok",
        "MISSING",
        "MISSING",
        "MISSING",
        "MISSING",
        "MISSING",
        done.said.splitlines()[-1],
    ]
    lines = done.said.splitlines()
    assert "prefect work-pool create playbook" in lines[3]
    assert "release/production" in lines[4]
    assert "blocks deploy" in lines[4]
    assert [word in lines[5 + number] for number, word in enumerate(("default", "emergency"))] == [True, True]
    assert "flight-check/production is not deployed" in lines[7]


def test_a_file_that_was_changed_after_it_was_applied_is_found(
    applied: Done, server: Server, file: Path, tmp_path
) -> None:
    """The step names what differs and the command."""
    changed = tmp_path / "production.toml"
    text = re.sub(r"^dashboard = .*\n", "", file.read_text(), flags=re.MULTILINE)
    changed.write_text(f'dashboard = "https://other.example"\n{text}')
    said = production_check(changed).said
    assert "the file was changed since it was applied (dashboard)" in said, said


def test_a_server_that_is_not_there_is_the_first_thing_missing(file: Path) -> None:
    """Nothing after it can be looked at, and nothing is guessed."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        done = production_check(file)
    assert done.status == 1
    assert "MISSING  the Prefect server" in done.said
    assert "ConnectError" in done.said
    assert "work pool" not in done.said


async def post(server: Server, path: str, **body: object) -> dict[str, Any]:
    """What the server answers."""
    async with server.client as client:
        answer = await client.post(path, json=body)
    assert answer.is_success, answer.text
    return dict(answer.json()) if answer.text.startswith("{") else {}


async def heard(stand_ins, words: str) -> list[dict[str, Any]]:
    """What the vendors were told with these words, once they were; fails after 40 s."""
    for _ in range(80):
        calls = [entry for entry in stand_ins.vendors.calls if words in str(entry["body"])]
        if {"slack", "pagerduty"} <= {entry["vendor"] for entry in calls}:
            return calls
        await asyncio.sleep(0.5)
    raise AssertionError(f"{words!r} was not told; told was {stand_ins.vendors.calls}")


async def test_with_no_worker_alive_the_server_itself_tells_and_pages(applied: Done, server: Server, stand_ins) -> None:
    """A rollback that no worker begins, the worker that is gone, and a recovery that stays away: each in Slack, and as
    a page with its own key. No process of ours runs."""
    flow = await post(server, "/flows/", name="rollback")
    await post(server, "/work_pools/", name="playbook", type="process")
    deployment = await post(
        server, "/deployments/", name="production", flow_id=flow["id"], tags=["production"], work_pool_name="playbook"
    )
    await post(server, "/work_pools/playbook/workers/heartbeat", name="the only worker", heartbeat_interval_seconds=1)
    await post(server, "/work_pools/playbook/get_scheduled_flow_runs")  # it polls once, and then it is dead
    await post(server, f"/deployments/{deployment['id']}/create_flow_run", name="<!channel> & a run")
    late = await heard(stand_ins, "rollback/production HAS NOT STARTED")
    said = {entry["vendor"]: entry["body"] for entry in late}
    assert said["slack"]["channel"] == "C0INCIDENTS"
    assert "work queue default" in said["slack"]["text"]
    assert said["pagerduty"]["dedup_key"] == "production/not-started"
    assert said["pagerduty"]["payload"]["severity"] == "critical"
    gone = await heard(stand_ins, "WORK POOL playbook HAS NO WORKER")
    assert {entry["body"].get("channel") for entry in gone} == {"C0PLATFORM", None}
    await heard(stand_ins, "NO WORKER FOR WORK QUEUE default")
    await heard(stand_ins, "NO RECOVERY HAS RUN")


async def test_the_death_of_a_release_is_told_as_text(applied: Done, server: Server, stand_ins) -> None:
    """The name of a run is a person's: it calls nobody. The reason is the run's."""
    flow = await post(server, "/flows/", name="release")
    deployment = await post(
        server, "/deployments/", name="production", flow_id=flow["id"], tags=["production"], work_pool_name="playbook"
    )
    run = await post(server, f"/deployments/{deployment['id']}/create_flow_run", name="<!channel> & a run")
    crash = {"type": "CRASHED", "name": "Crashed", "message": "out of <memory>"}
    await post(server, f"/flow_runs/{run['id']}/set_state", state=crash, force=True)
    for _ in range(60):
        told = [str(body["text"]) for body in stand_ins.told("slack") if "ENDED Crashed" in str(body)]
        if told:
            break
        await asyncio.sleep(0.5)
    assert "release/production ENDED Crashed" in told[0]
    assert "&lt;!channel&gt; &amp; a run" in told[0]
    assert "out of &lt;memory&gt;" in told[0]
