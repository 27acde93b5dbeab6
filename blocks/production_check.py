"""``python -m blocks production-check ENVIRONMENT``: what is still missing before the first release, in the order of
docs/production.md.

Each step builds on the one before, so the first that fails is the one to mend; the others are looked at all the same
where that makes sense. The last one is the flight check, which runs on the worker and with its permissions.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import prefect
import yaml  # type: ignore[import-untyped]  # Prefect brings it; its types are not in the lock
from packaging.version import Version
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateType
from prefect.client.schemas.objects import StateType as Kind
from prefect.client.schemas.objects import WorkQueueStatus
from prefect.exceptions import ObjectNotFound

from blocks import files, rules
from blocks.environment import Environment
from blocks.prefect_api import HINT, PREFECT_AWAY, what_came
from playbook.errors import BadRequest

ROOT = Path(__file__).resolve().parent.parent
SERVER = "the Prefect server, its version and its login (2)"
POOL = "playbook"
QUEUES = ("default", "emergency")
FLIGHT_CHECK_S, LOOK_S = 300.0, 2.0


class Looked(NamedTuple):
    """One step: what was looked at, and a sentence for each thing that is missing."""

    what: str
    problems: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """As it is printed."""
        return [f"MISSING  {self.what}: {one}" for one in self.problems] or [f"ok       {self.what}"]


async def production_check(path: Path) -> AsyncIterator[Looked]:
    """Every step in order, as it has been looked at."""
    try:
        env = await files.read(path, with_secrets=False)
    except BadRequest as wrong:
        yield Looked(f"{path} (3)", tuple(wrong.problems))
        return
    yield Looked(f"{path} (3)", tuple(rules.warnings(env)))
    what = SERVER
    try:
        async with get_client() as client:
            for what, look in steps(client, env, path):
                yield Looked(what, tuple(await look()))
    except (*PREFECT_AWAY, RuntimeError) as away:  # RuntimeError: its client's word for a server that it never reached
        yield Looked(what, (f"the Prefect server did not answer: {what_came(away)}. {HINT}",))


Look = Callable[[], Awaitable[list[str]]]


def steps(client: PrefectClient, env: Environment, path: Path) -> list[tuple[str, Look]]:
    """What is asked of the Prefect server, in order."""
    return [
        (SERVER, lambda: server_problems(client)),
        ("the environment's block on the server (3)", lambda: block_problems(env, path)),
        ("the work pool and its queues (3)", lambda: pool_problems(client)),
        ("the deployments (3)", lambda: deployment_problems(client, env.name)),
        ("the workers (4)", lambda: worker_problems(client)),
        ("the flight check, on the worker (6)", lambda: flight_problems(client, env.name)),
    ]


async def server_problems(client: PrefectClient) -> list[str]:
    """It answers with this login, and is not older than what is installed here."""
    found = await client.api_version()
    await client.read_work_pools(limit=1)  # needs the login
    if Version(found) < Version(prefect.__version__):
        return [f"it runs Prefect {found}, and {prefect.__version__} is installed here. Install the same lock on both."]
    return []


async def block_problems(env: Environment, path: Path) -> list[str]:
    """What was applied is what the file says now."""
    apply = f"python -m blocks apply {path}"
    try:
        saved = await Environment.open(env.name)
    except BadRequest as wrong:
        return [f"{'; '.join(wrong.problems)} Run: {apply}"]
    now, then = env.model_dump(mode="json"), saved.model_dump(mode="json")
    fields = [name for name in type(env).model_fields if now[name] != then[name]]
    return [f"the file was changed since it was applied ({', '.join(fields)}). Run: {apply}"] if fields else []


async def pool_problems(client: PrefectClient) -> list[str]:
    """The pool is made from deploy/work-pool.json, and no queue is paused."""
    make = f"prefect work-pool create {POOL} --type process --base-job-template deploy/work-pool.json"
    try:
        pool = await client.read_work_pool(POOL)
    except ObjectNotFound:
        return [f"there is no work pool {POOL}. Run: {make}"]
    problems = []
    if pool.base_job_template != json.loads((ROOT / "deploy" / "work-pool.json").read_text(encoding="utf-8")):
        problems.append(f"the pool's template is not deploy/work-pool.json. Run: {make} --overwrite")
    if pool.is_paused:
        problems.append(f"the pool is paused: nothing starts, rollbacks neither. Run: prefect work-pool resume {POOL}")
    paused = [one.name for one in await client.read_work_queues(work_pool_name=POOL) if one.is_paused]
    return problems + [f"queue {one} is paused. Run: prefect work-queue resume {one} --pool {POOL}" for one in paused]


async def deployment_problems(client: PrefectClient, environment: str) -> list[str]:
    """Every deployment of prefect.yaml for this environment is there, and its schedules have made runs."""
    written: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    missing, silent = [], []
    for one in (one for one in written if one["name"] == environment):
        name = f"{one['entrypoint'].rsplit('.', 1)[-1].replace('_', '-')}/{environment}"
        try:
            found = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            missing.append(name)
            continue
        due = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[found.id]),
            state=FlowRunFilterState(type=StateType(any_=[Kind.SCHEDULED])),
        )
        has_schedule = any(schedule.active for schedule in found.schedules)
        if has_schedule and not await client.read_flow_runs(flow_run_filter=due, limit=1):
            silent.append(name)
    problems = [f"{', '.join(missing)} not deployed. Run: python -m blocks deploy"] if missing else []
    if silent:
        problems.append(
            f"{', '.join(silent)} has a schedule and no scheduled run: the background services do not run, or their "
            "packages are not those of requirements.lock"
        )
    return problems


async def worker_problems(client: PrefectClient) -> list[str]:
    """A worker asks each queue for work."""
    try:
        queues = {one.name: one for one in await client.read_work_queues(work_pool_name=POOL)}
    except ObjectNotFound:
        queues = {}
    silent = [name for name in QUEUES if name not in queues or queues[name].status is WorkQueueStatus.NOT_READY]
    start = "systemctl enable --now playbook-worker@"
    return [
        f"no worker asks the queue {one}. Run: {start}{one} (it asks half a minute after its start)" for one in silent
    ]


async def flight_problems(client: PrefectClient, environment: str) -> list[str]:
    """What the flight check finds. It changes nothing; `#releases` is told what it finds."""
    name = f"flight-check/{environment}"
    try:
        deployment = await client.read_deployment_by_name(name)
    except ObjectNotFound:
        return [f"{name} is not deployed"]
    run = await client.create_flow_run_from_deployment(deployment.id, parameters={"environment": environment})
    for _ in range(int(FLIGHT_CHECK_S / LOOK_S)):
        run = await client.read_flow_run(run.id)
        if run.state is not None and run.state.is_final():
            break
        await asyncio.sleep(LOOK_S)
    if run.state is None or not run.state.is_final():
        return [f"run {run.name} has not ended after {FLIGHT_CHECK_S:g} s: no worker takes it. Look at its page."]
    if run.state.is_completed():
        return []
    return [part for part in (run.state.message or str(run.state.name)).split("; ") if part]
