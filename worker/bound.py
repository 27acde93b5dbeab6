"""A process worker that starts this project's flows and nothing else, whatever stands on the Prefect server.

`python -m worker` becomes it. Every person with Prefect's login can change a pool's template, and the entrypoint and
pull steps of a deployment. This worker takes none of them from the server: how a run is started, with which variables,
and which flow it is stand in this module and in the prefect.yaml beside it.
"""

import asyncio
import functools
import os
import runpy
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio.abc
import pydantic
import yaml  # type: ignore[import-untyped]  # Prefect brings it; its types are not in the lock
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import Settings, get_current_settings
from prefect.states import Failed
from prefect.workers import process
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from playbook.text import MESSAGE_MAX, clean
from tasks.binding import DEPLOYMENT
from worker.start import ENVIRONMENT
from worker.warm import complete_models, share_certificates

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, WorkPool
    from prefect.client.schemas.responses import DeploymentResponse

DEPLOYMENTS = Path(__file__).resolve().parent.parent / "prefect.yaml"
COMMAND = shlex.join([sys.executable, "-I", "-S", str(Path(__file__).with_name("start.py"))])
"""It needs the standard library alone: without the installed packages it starts in half the time."""
ENTRYPOINT = "PREFECT__FLOW_ENTRYPOINT"
"""With it Prefect's engine loads this flow, and reads neither entrypoint nor pull steps of the deployment."""


@functools.cache
def entrypoints(path: Path = DEPLOYMENTS) -> dict[str, str]:
    """``flow/deployment`` -> entrypoint, of every deployment of prefect.yaml as it was when this process began."""
    written: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
    return {f"{flow_name(one['entrypoint'])}/{one['name']}": str(one["entrypoint"]) for one in written}


def flow_name(entrypoint: str) -> str:
    """``flows.flight_check.flight_check`` -> ``flight-check``, as our flows are called."""
    return entrypoint.rsplit(".", 1)[-1].replace("_", "-")


def problem(named: str, deployment: "DeploymentResponse | None", known: dict[str, str]) -> str:
    """Why a run of the deployment ``named`` is not started, in one sentence; empty where it is."""
    if deployment is None or named not in known:
        return f"{named} is in no prefect.yaml that this worker was installed with, so it was not started."
    changed = [
        what
        for what, is_so in (
            (f"its entrypoint is {deployment.entrypoint}", deployment.entrypoint != known[named]),
            ("it has pull steps", bool(deployment.pull_steps)),
            ("it has job variables", bool(deployment.job_variables)),
            ("its code is in a storage block", deployment.storage_document_id is not None),
        )
        if is_so
    ]
    if not changed:
        return ""
    return (
        f"{named} is not as prefect.yaml has it ({', '.join(changed)}), so it was not started. Find out who changed "
        "it, and deploy again: python -m blocks deploy."
    )


FLOWS: dict[UUID, str] = {}
"""A flow keeps its name: it is asked for once."""


async def flow_of(client: "PrefectClient", flow_id: UUID) -> str:
    """The name of a flow."""
    if flow_id not in FLOWS:
        FLOWS[flow_id] = (await client.read_flow(flow_id)).name
    return FLOWS[flow_id]


async def deployment_of(client: "PrefectClient", flow_run: "FlowRun") -> "tuple[str, DeploymentResponse | None]":
    """``flow/deployment`` of a run, and the deployment as it stands on the server."""
    if flow_run.deployment_id is None:
        return f"{await flow_of(client, flow_run.flow_id)}/(none)", None
    flow, found = await asyncio.gather(
        flow_of(client, flow_run.flow_id), client.read_deployment(flow_run.deployment_id), return_exceptions=True
    )
    if isinstance(flow, BaseException):
        raise flow
    if isinstance(found, ObjectNotFound):
        return f"{flow}/(deleted)", None
    if isinstance(found, BaseException):
        raise found
    return f"{flow}/{found.name}", found


class BoundConfiguration(ProcessJobConfiguration):
    """How a run is started: the pool's template and the run's own variables are not used."""

    @classmethod
    async def resolve_for_flow_run(
        cls, flow_run: "FlowRun", *, work_pool: "WorkPool", worker_name: str, worker_id: UUID | None = None, **_: Any
    ) -> "BoundConfiguration":
        """The configuration of a run. The server is asked nothing: what it would say is not used."""
        configuration = cls(labels={})
        configuration.prepare_for_flow_run(flow_run, work_pool=work_pool, worker_name=worker_name, worker_id=worker_id)
        return configuration

    def prepare_for_flow_run(self, *arguments: Any, **named: Any) -> None:
        """As Prefect's, without a command, an environment or a folder from the server."""
        self.command, self.env, self.working_dir, self.stream_output = COMMAND, dict(ENVIRONMENT), None, False
        super().prepare_for_flow_run(*arguments, **named)


EVENTS_AWAY_S = 10
"""Seconds until the server is asked again for its events."""

warnings.filterwarnings("ignore", message="Type 'BoundWorker'")  # Prefect warns of what is meant: see below


class BoundWorker(ProcessWorker):
    """See the module. It is registered as the worker of type ``process``, in place of Prefect's own."""

    job_configuration = BoundConfiguration

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._watch: asyncio.Task[None] | None = None
        self._asked: dict[UUID, tuple[FlowRun, asyncio.Task[tuple[str, DeploymentResponse | None]]]] = {}

    async def setup(self) -> None:
        """As Prefect's. Its first line goes the way of every later one, which takes 0.1 s the first time."""
        await super().setup()
        self._logger.info("This worker starts the flows of %s, and nothing else.", DEPLOYMENTS)
        self._watch = asyncio.create_task(self._look_when_asked())

    async def teardown(self, *exc_info: Any) -> None:
        """As Prefect's; from here on no run is looked for."""
        if self._watch is not None:
            self._watch.cancel()
        await super().teardown(*exc_info)

    async def _look_when_asked(self) -> None:
        """Look for work in the moment when the server says that a run of these queues was scheduled.

        Where the server's events cannot be had, a run waits for the next look (PREFECT_WORKER_QUERY_SECONDS).
        """
        role, names = "work-queue", sorted(self._work_queues)
        if not names:
            role, names = "work-pool", [self._work_pool_name]
        looked_at = ResourceSpecification({"prefect.resource.role": role, "prefect.resource.name": names})
        scheduled = EventFilter(
            event=EventNameFilter(name=["prefect.flow-run.Scheduled"]),
            any_resource=EventAnyResourceFilter(labels=looked_at),  # the server ignores `related`
        )
        while True:
            try:
                async with get_events_subscriber(scheduled) as events:
                    async for _ in events:
                        await self.get_and_submit_flow_runs()
            except Exception as away:  # noqa: BLE001  # whatever it is: the next look comes by the clock
                self._logger.debug("No events of scheduled runs: %s", away)
            await asyncio.sleep(EVENTS_AWAY_S)

    async def _submit_run(self, flow_run: "FlowRun") -> None:
        """As Prefect's, without its first step: it reads the deployment before it asks whether the run may begin. Ours
        is read meanwhile, once, for `run`; so Prefect is handed a flow run that names none."""
        deployment = asyncio.create_task(deployment_of(self.client, flow_run))
        deployment.add_done_callback(lambda done: done.cancelled() or done.exception())  # `run` may not begin
        self._asked[flow_run.id] = flow_run, deployment
        try:
            await super()._submit_run(flow_run.model_copy(update={"deployment_id": None}))
        finally:
            del self._asked[flow_run.id]
            deployment.cancel()

    async def _propose_submitting_state(self, flow_run: "FlowRun") -> None:
        """Leave the run Pending: one state less to wait for while users are on a bad release."""

    async def _give_worker_labels_to_flow_run(self, flow_run_id: UUID) -> None:
        """Give it none: which worker has it stands in the run's log."""

    async def run(
        self,
        flow_run: "FlowRun",
        configuration: ProcessJobConfiguration,
        task_status: "anyio.abc.TaskStatus[int] | None" = None,
    ) -> ProcessWorkerResult:
        """The run's process has ended; or the run was refused, with the reason as its state's message."""
        known = entrypoints()
        flow_run, asked = self._asked[flow_run.id]
        named, deployment = await asked
        if why := problem(named, deployment, known):
            refused: Any = Failed(name="Refused", message=clean(why, MESSAGE_MAX))
            await self.client.set_flow_run_state(flow_run.id, refused, force=True)
            self._logger.error("%s", clean(why, MESSAGE_MAX))
            if task_status is not None:
                task_status.started(0)
            return ProcessWorkerResult(status_code=0, identifier="not started")
        configuration.env |= {ENTRYPOINT: known[named], DEPLOYMENT: named.partition("/")[2]}
        return await super().run(flow_run, configuration, task_status)


async def bound_flow(flow_run: "FlowRun", **_: Any) -> Flow[..., Any]:
    """The flow of a run, for its hooks: of this installation, never by the deployment's own steps.

    Raises ValueError.
    """
    from prefect.client.orchestration import get_client

    async with get_client() as client:
        named, deployment = await deployment_of(client, flow_run)
    known = entrypoints()
    if why := problem(named, deployment, known):
        raise ValueError(why)
    return load_flow_from_entrypoint(known[named], use_placeholder_flow=False)


def remember_settings() -> None:
    """What Prefect's settings are as variables is worked out once: 30 ms of CPU time, twice in the start of every
    run."""
    ours, work_out = get_current_settings(), Settings.to_environment_variables
    known = functools.cache(lambda: work_out(ours, exclude_unset=True))

    def remembered(settings: Settings, **how: bool) -> dict[str, str]:
        is_known = settings is ours and how == {"exclude_unset": True}
        return dict(known()) if is_known else work_out(settings, **how)

    setattr(Settings, "to_environment_variables", remembered)  # noqa: B010  # mypy knows no other way to say it


def main() -> None:
    """Prefect's own ``worker start`` with these arguments and this worker."""
    share_certificates()
    remember_settings()
    vars(process).update(load_flow_from_flow_run=bound_flow)  # the one way in which a worker loads a flow by itself
    os.environ.pop(ENTRYPOINT, None)
    complete_models(pydantic.BaseModel)
    sys.argv = ["prefect", "worker", "start", "--type", ProcessWorker.type, *sys.argv[1:]]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
