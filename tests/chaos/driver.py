"""Runs flows in this process: real flow functions, virtual time, simulated processes that die at any call."""

import asyncio
import contextvars
import importlib
import itertools
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, TypeVar

import virtual_time
from faults import Fault
from fixture import NEW, QUICK, Fixture
from prefect import Flow
from prefect._flow_run_suspension import FlowRunSuspensionRequest
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import Pause
from prefect.states import Cancelled, Failed, Running, Suspended
from prefect_away import Server, Started, prefect_away
from wire import PROCESS, Moment, Process

from flows.recovery import recovery
from flows.release import release
from playbook.analysis.policy import Policy
from playbook.lease.change import Change
from playbook.lease.record import Record
from playbook.release.traffic import TrafficSplit
from playbook.release.version import ReleaseRequest

T = TypeVar("T")

SILENCE_S = 31
"""After so long without a heartbeat the server's automation starts a recovery."""
ROUNDS_MAX = 6
"""How many recoveries may follow one another; more are an endless loop."""
GOES_ON = "migration-rollback"
"""The flow that recovery starts again in a new run instead of finishing it itself."""
Orders = Mapping[int, Moment | Fault]


@dataclass
class Run:
    """One flow run: its process, and its state once it has ended by itself."""

    process: Process
    task: "asyncio.Task[None]"
    state: State[Any] | None = None
    error: Exception | None = None
    ended_at_s: float = 0.0
    started: tuple[Flow[..., Any], dict[str, Any]] | None = None
    suspension: FlowRunSuspensionRequest = field(default_factory=FlowRunSuspensionRequest)
    """what Prefect's engine marks when a person pauses the run"""
    flow_run: Any = None
    """the flow run as the server knows it, where it runs again"""

    @property
    def end(self) -> str:
        """The name of its final state; Killed where its process was killed, Failed after an unexpected error."""
        if self.process.is_dead:
            return "Killed"
        return "Failed" if self.error else str(self.state.name if self.state else "Running")

    @property
    def message(self) -> str:
        """The message of its final state."""
        return str(self.state.message if self.state else "")


class TestEnvironment:
    """The fixture, the Prefect server, and the runs so far. Use it within `play`."""

    __test__ = False  # a name that pytest would otherwise collect

    def __init__(self, policy: Policy = QUICK) -> None:
        self.fixture = Fixture(policy)
        self.server = Server(self.fixture)
        self.runs: list[Run] = []
        self.orders: list[Orders] = []
        """for the runs after the disturbed one, in turn; further runs are not disturbed"""
        self._caught_up: set[str] = set()
        self._numbers = itertools.count()
        self.ended_s = 0.0
        """seconds from the disturbance to the end, for the table"""

    def start(self, flow: Flow[..., Any], orders: Orders | None = None, **parameters: Any) -> Run:
        """Start a run of ``flow`` in a simulated process. ``orders`` take effect at its calls."""
        number = next(self._numbers)
        run_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"run {number}"))
        return self._start(flow, Process(f"{flow.name} {number}", run_id, {} if orders is None else orders), parameters)

    def pause(self, run: Run, seconds: float) -> None:
        """A person pauses a run in the UI: its process ends at its next step, and it can be resumed for so long."""
        until = datetime.fromtimestamp(self.fixture.now() + seconds, UTC)
        state = Suspended(pause_expiration_time=until)
        self.server.runs[run.process.flow_run_id] = state
        run.suspension.mark_requested(state)

    def run_again(self, run: Run, scheduled_as: str) -> Run:
        """A person resumes (``Resuming``) or retries (``AwaitingRetry``) a run in the UI: a new process of the same
        run."""
        assert run.started is not None
        flow, parameters = run.started
        run_id = run.process.flow_run_id
        before = run.state or self.server.runs[run_id]
        again = State(type=StateType.SCHEDULED, name=scheduled_as)
        self.server.histories[run_id] = [before, again]
        process = Process(f"{flow.name} {next(self._numbers)}", run_id)
        return self._start(
            flow,
            process,
            parameters,
            SimpleNamespace(id=run_id, name="again", deployment_id="any", parent_task_run_id="none"),
        )

    def _start(self, flow: Flow[..., Any], process: Process, parameters: dict[str, Any], flow_run: Any = None) -> Run:
        context = contextvars.copy_context()
        context.run(PROCESS.set, process)
        self.server.runs[process.flow_run_id] = Running()
        self.server.flows[process.flow_run_id] = flow.name, parameters.get("environment", "production")
        self.server.parameters[process.flow_run_id] = flow.serialize_parameters(parameters)
        work = asyncio.get_running_loop().create_task(_nothing(), context=context)
        run = Run(process, work, started=(flow, parameters), flow_run=flow_run)
        run.task = asyncio.get_running_loop().create_task(self._carry_out(run, flow, parameters), context=context)
        self.runs.append(run)
        return run

    async def ended(self, *runs: Run) -> None:
        """Wait until each of these runs has ended or was killed."""
        for run in runs:
            dying = asyncio.ensure_future(run.process.death.wait())
            await asyncio.wait({run.task, dying}, return_when=asyncio.FIRST_COMPLETED)
            dying.cancel()
            run.ended_at_s = run.ended_at_s or self.fixture.now()

    async def release(self, version: str = NEW, orders: Orders | None = None, **request: Any) -> Run:
        """Run a release of ``version`` to production until it ends."""
        run = self.start_release(version, orders, **request)
        await self.ended(run)
        return run

    def start_release(self, version: str = NEW, orders: Orders | None = None, **request: Any) -> Run:
        """Start a release of ``version`` to production."""
        environment = request.pop("environment", "production")
        wanted = ReleaseRequest(version=version, **request)
        return self.start(release, orders, request=wanted, environment=environment)

    async def follow(self, flow: Flow[..., Any], **parameters: Any) -> Run:
        """Run ``flow`` with the next orders until it ends."""
        run = self.start(flow, self.orders.pop(0) if self.orders else None, **parameters)
        await self.ended(run)
        return run

    async def recover(self) -> list[Run]:
        """Do what automations do: after a silence, start a recovery where a lease is left, and the runs it requests."""
        followers: list[Run] = []
        for _ in range(ROUNDS_MAX):
            await asyncio.sleep(SILENCE_S)
            held = [name for name in self.fixture.clouds if self.is_held(name)]
            if not held:
                break
            for name in held:
                followers.append(await self.follow(recovery, environment=name))
                followers += await self._go_on()
        return followers

    def cancel(self, run: Run) -> None:
        """Cancel a run whose process is killed: its state on the server is Cancelled."""
        self.server.runs[run.process.flow_run_id] = Cancelled()

    def died_holding(self, run: Run) -> bool:
        """Whether its process was killed and left a lease on production."""
        writes = [write for write in self.fixture.production.writes if write.by == run.process.name]
        return run.process.is_dead and bool(writes) and bool(writes[-1].change.record.holder)

    async def _go_on(self) -> list[Run]:
        return [
            await self.follow(flow_of(one.deployment), **flow_of(one.deployment).validate_parameters(one.parameters))
            for one in self._not_yet_run(GOES_ON)
        ]

    def _not_yet_run(self, flow: str = "") -> list[Started]:
        """The runs that were requested since the last call; only those of ``flow`` if it is given."""
        started = self.server.started
        keys = [key for key, one in started.items() if key not in self._caught_up and one.deployment.startswith(flow)]
        self._caught_up.update(keys)
        return [started[key] for key in keys]

    def is_held(self, where: str) -> bool:
        """Whether a service of that environment has a lease or takes part in one."""
        cloud = self.fixture.clouds[where]
        records = (Record.parse(service, cloud.read(service).annotations) for service in cloud.services)
        return any(record.holder for record in records if isinstance(record, Record))

    async def catch_up(self) -> None:
        """Run the requested runs (announce, watch), each once, and wait until Cloud Run has reconciled."""
        while waiting := self._not_yet_run():
            for started in waiting:
                flow = flow_of(started.deployment)
                await self.ended(self.start(flow, **flow.validate_parameters(started.parameters)))
        for cloud in self.fixture.clouds.values():
            await cloud.settled()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait, 0.1 s at a time, until ``is_so``."""
        while not is_so():  # noqa: ASYNC110  # virtual time: waiting is free
            await asyncio.sleep(0.1)

    def split(self, service: str) -> dict[str, int]:
        """Revision -> percent of a production service's users now."""
        return dict(self.fixture.production.services[service].served.percent)

    def baking(self, service: str) -> Callable[[], bool]:
        """Whether a canary of this production service has users beside its stable revision."""
        return lambda: len(self.split(service)) > 1

    async def out_of_band(self, service: str, split: TrafficSplit | None = None, record: Record | None = None) -> None:
        """A person changes a production service in the console; returns once it is served.

        ``record`` is what another run of the engine has written there.
        """
        cloud = self.fixture.production
        ours = cloud.signed(service, record) if record else None
        await cloud.accept(cloud.read(service), Change(record=record, split=split), "ada@example.com", ours)

    async def forget(self) -> None:
        """Forget runs, killed processes and calls to vendors. The services keep their state."""
        for run in self.runs:
            run.process.is_buried = run.process.is_dead
            run.task.cancel()
        await asyncio.gather(*(run.task for run in self.runs), return_exceptions=True)
        self.runs.clear()
        self._caught_up.clear()
        self.server.forget()
        self.fixture.forget()

    async def _carry_out(self, run: Run, flow: Flow[..., Any], parameters: dict[str, Any]) -> None:
        try:
            with FlowRunContext.model_construct(  # for the run logger
                flow=flow, flow_run=run.flow_run, flow_run_suspension_request=run.suspension
            ):
                run.state = await flow.fn(**parameters)
        except Pause:  # the engine ends the process, and the run stays as the person has set it
            return
        except Exception as error:  # noqa: BLE001  # as Prefect's engine does with an unexpected error
            run.error, run.state = error, Failed(message=f"{type(error).__name__}: {error}")
        self.server.runs[run.process.flow_run_id] = run.state or State(type=StateType.COMPLETED)


async def _nothing() -> None:
    """A placeholder until the run's own task exists."""


def flow_of(deployment: str) -> Flow[..., Any]:
    """The flow of the deployment ``flow/environment``."""
    name = deployment.split("/")[0].replace("-", "_")
    found: Flow[..., Any] = getattr(importlib.import_module(f"flows.{name}"), name)
    return found


def play(scenario: Callable[[TestEnvironment], Awaitable[T]], policy: Policy = QUICK) -> T:
    """Run ``scenario`` in a new test environment with virtual time, and return its result."""

    async def whole() -> T:
        test_env = TestEnvironment(policy)
        with prefect_away(test_env.server):
            try:
                return await scenario(test_env)
            finally:
                test_env.fixture.wire.is_cleared = True

    return virtual_time.run(whole())
