"""Runs flow and task functions directly in this event loop, without Prefect's engine and server.

Each seam is a public name of Prefect, replaced in Prefect's own module (`prefect_away`):

- calling a task runs its function; after a failure it runs again as its own options say, with its own delays;
- the functions that talk to the Prefect server talk to `Server` instead, through the wire;
- ``runtime`` answers for the process that asks, and an environment is opened from the fixture.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID

from fixture import Fixture
from prefect import Task, artifacts, deployments, events, flow_runs, runtime
from prefect.client import orchestration
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import NotPausedError, ObjectNotFound
from wire import PROCESS

from blocks.clock import CLOCK
from blocks.environment import Environment
from tasks import report

RUN_COUNT: ContextVar[int] = ContextVar("RUN_COUNT", default=1)
ANSWERS_AFTER_S = 2.0


@dataclass(frozen=True)
class Started:
    """A requested run: its deployment, and its parameters as JSON."""

    deployment: str
    parameters: dict[str, Any]


@dataclass
class Server:
    """A Prefect server in memory, and the people who answer its forms."""

    fixture: Fixture
    runs: dict[str, State[Any]] = field(default_factory=dict)
    flows: dict[str, tuple[str, str]] = field(default_factory=dict)
    """run -> its flow, and the environment that its deployment is named after"""
    parameters: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: dict[str, list[str]] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    started: dict[str, Started] = field(default_factory=dict)
    """by idempotency key"""
    events: list[tuple[float, str, str]] = field(default_factory=list)
    """unix seconds, name, resource"""
    log: list[tuple[str, str]] = field(default_factory=list)
    """process, line"""
    answers: list[dict[str, Any]] = field(default_factory=list)
    """what people answer at the gates, in order; further gates get no answer"""
    answer: Callable[[str], dict[str, Any]] | None = None
    """the answer to the text above a form, instead of ``answers``"""
    gates: dict[str, "asyncio.Future[dict[str, Any]]"] = field(default_factory=dict)
    forms: list[str] = field(default_factory=list)
    """the texts above the forms"""
    histories: dict[str, list[State[Any]]] = field(default_factory=dict)
    """the states of runs that run again, oldest first"""
    events_late_s: float = 0.0
    """seconds from an event's sending until the server finds it"""

    def forget(self) -> None:
        """Forget runs, artifacts, events, logs and forms."""
        for kept in (
            self.runs,
            self.flows,
            self.parameters,
            self.artifacts,
            self.variables,
            self.started,
            self.events,
            self.log,
            self.gates,
            self.forms,
        ):
            kept.clear()

    async def artifact(self, markdown: str, key: str, description: str = "", **_: Any) -> str:
        """As `acreate_markdown_artifact`; its id is its key."""
        await self._carry("artifact", key, lambda: self.artifacts.setdefault(key, []).append(markdown))
        return key

    async def update_artifact(self, artifact_id: str, artifact: Any) -> None:
        """As the client's, for a page or a progress. Raises ObjectNotFound."""

        def change() -> None:
            if artifact_id != "shown":
                if artifact_id not in self.artifacts:
                    raise ObjectNotFound(Exception("there is no such artifact"))
                self.artifacts[artifact_id].append(artifact.data)

        await self._carry("progress" if artifact_id == "shown" else "artifact", str(artifact_id), change)

    async def progress(self, progress: float, description: str = "", **_: Any) -> str:
        """As `acreate_progress_artifact`."""
        await self._carry("progress", description, lambda: None)
        return "shown"

    async def show_progress(self, artifact_id: str, progress: float, description: str = "", **_: Any) -> None:
        """As `aupdate_progress_artifact`."""
        await self._carry("progress", description, lambda: None)

    async def run_deployment(self, name: str, parameters: dict[str, Any], idempotency_key: str, **_: Any) -> Any:
        """As `arun_deployment` without waiting: the same key starts one run."""
        wanted = Started(name, parameters)
        await self._carry("start", name, lambda: self.started.setdefault(idempotency_key, wanted))
        return SimpleNamespace(name=idempotency_key)

    async def pause(self, wait_for_input: type[Any], timeout: float, **_: Any) -> Any:
        """As `apause_flow_run`: waits for a person's answer, or for `resume`."""
        process = PROCESS.get()
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

        def ask() -> None:
            self.gates[process.flow_run_id] = answer
            self.forms.append(str(wait_for_input._description))
            if self.answer or self.answers:
                said = self.answer(self.forms[-1]) if self.answer else self.answers.pop(0)
                asyncio.get_running_loop().call_later(ANSWERS_AFTER_S, _answer, answer, said)

        await self._carry("pause", process.name, ask)
        given = await asyncio.wait_for(answer, timeout)
        await self._carry("unpause", process.name, lambda: self.gates.pop(process.flow_run_id, None))
        return wait_for_input(**given)

    async def resume(self, flow_run_id: UUID, run_input: dict[str, Any]) -> None:
        """As `aresume_flow_run`."""

        def answer() -> None:
            gate = self.gates.get(str(flow_run_id))
            if gate is None or gate.done():
                raise NotPausedError("Cannot resume a run that isn't paused!")
            gate.set_result(run_input)

        await self._carry("resume", str(flow_run_id), answer)

    def emit(self, event: str, resource: dict[str, str], **_: Any) -> None:
        """As `emit_event`: it does not wait, and a killed process emits nothing."""
        if not PROCESS.get().is_dead:
            self.events.append((self.fixture.now(), event, resource["prefect.resource.id"]))

    @contextlib.asynccontextmanager
    async def client(self) -> Any:
        """As `get_client`."""
        yield self

    async def read_flow_run(self, flow_run_id: UUID) -> Any:
        """As the client's."""

        def found() -> Any:
            if str(flow_run_id) not in self.runs:
                raise ObjectNotFound(Exception("there is no such run"))
            flow, where = self.flows.get(str(flow_run_id), ("recovery", None))
            state = self.runs[str(flow_run_id)]
            return SimpleNamespace(id=flow_run_id, state=state, flow_id=flow, deployment_id=where)

        return await self._carry("read flow run", str(flow_run_id), found)

    async def read_flow_runs(self, flow_run_filter: Any, **_: Any) -> list[Any]:
        """As the client's, for runs of one environment and flow, by their tags, that ended in a named state."""
        tags, names = flow_run_filter.tags.all_, flow_run_filter.state.name.any_

        def found() -> list[Any]:
            ended = [run for run, (flow, where) in self.flows.items() if {flow, where} == set(tags)]
            named = [run for run in ended if self.runs[run].name in names]
            return [SimpleNamespace(id=run, parameters=self.parameters[run]) for run in named]

        return await self._carry("read flow runs", ",".join(tags), found)

    async def read_flow(self, flow_id: str) -> Any:
        """As the client's; its id is its name."""
        return await self._carry("read flow", flow_id, lambda: SimpleNamespace(name=flow_id))

    async def read_flow_run_states(self, flow_run_id: UUID) -> list[State[Any]]:
        """As the client's."""
        return await self._carry("read states", str(flow_run_id), lambda: self.histories[str(flow_run_id)])

    async def read_deployment(self, deployment_id: str) -> Any:
        """As the client's; its id is the environment that it is named after, or any: production's."""
        name = "production" if deployment_id == "any" else deployment_id
        return await self._carry("read deployment", deployment_id, lambda: SimpleNamespace(name=name))

    async def read_deployment_by_name(self, name: str) -> Any:
        """As the client's; its id is its name."""
        return await self._carry("read deployment", name, lambda: SimpleNamespace(id=name))

    async def set_flow_run_state(self, flow_run_id: UUID, state: State[Any], force: bool = False) -> None:
        """As the client's."""
        await self._carry("set state", str(flow_run_id), lambda: self.runs.__setitem__(str(flow_run_id), state))

    async def request(self, method: str, path: str, json: dict[str, Any]) -> Any:
        """As the client's, for the two requests that are made this way: filters of events and of variables."""
        assert method == "POST"
        match path:
            case "/events/filter":
                return await self._events(json["filter"])
            case "/variables/filter":
                return await self._variables(json["variables"]["name"]["any_"])
        raise AssertionError(path)

    async def _events(self, asked: dict[str, Any]) -> Any:
        since_s = datetime.fromisoformat(asked["occurred"]["since"].replace("Z", "+00:00")).timestamp()
        names, resources = asked["event"]["name"], asked["resource"]["id"]

        def found() -> Any:
            stored = [e for e in self.events if e[0] <= self.fixture.now() - self.events_late_s]
            events = [e for e in stored if e[0] >= since_s and e[1] in names and e[2] in resources]
            newest = [{"event": name} for _, name, _ in reversed(events)]
            return SimpleNamespace(json=lambda: {"events": newest})

        return await self._carry("events", ",".join(resources), found)

    async def _variables(self, names: list[str]) -> Any:
        def found() -> Any:
            there = [{"name": name, "value": value} for name, value in self.variables.items() if name in names]
            return SimpleNamespace(json=lambda: there)

        return await self._carry("read variables", names[0], found)

    async def open(self, name: str) -> Environment:
        """As `Environment.aload`."""
        if name not in self.fixture.environments:
            raise ValueError(f"no block {name}") from ObjectNotFound(Exception(name))
        return await self._carry("block", name, lambda: self.fixture.environments[name])

    async def _carry(self, method: str, subject: str, apply: Callable[[], Any]) -> Any:
        return await self.fixture.wire.carry("prefect", method, subject, apply)


def _answer(gate: "asyncio.Future[dict[str, Any]]", said: dict[str, Any]) -> None:
    if not gate.done():
        gate.set_result(said)


async def run_task(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a task as often as its options say. Only what its retry condition allows is retried.

    Raises Pause where a person has paused the run, as Prefect's engine does.
    """
    if context := FlowRunContext.get():
        context.flow_run_suspension_request.raise_if_requested()
    delays = task.retry_delay_seconds or [0.0]
    delays = delays if isinstance(delays, list) else [float(delays)]
    for tried in range(1, task.retries + 2):
        RUN_COUNT.set(tried)
        try:
            return await task.fn(*args, **kwargs)
        except Exception as error:
            if tried > task.retries or not await _may_retry(task, error):
                raise
        await asyncio.sleep(delays[min(tried, len(delays)) - 1])
    raise AssertionError("the last try returns or raises")


async def _may_retry(task: Task[..., Any], error: Exception) -> bool:
    condition: Any = task.retry_condition_fn
    return condition is None or await condition(task, None, State(type=StateType.FAILED, data=error))


class _RunLog(logging.Handler):
    """Where the lines go that our code gives to Prefect's run logger."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.log.append((PROCESS.get().name, record.getMessage()))


@contextlib.contextmanager
def _run_log(server: Server) -> Iterator[None]:
    """The run logger writes to ``server.log``."""
    logger, handler = logging.getLogger("prefect.flow_runs"), _RunLog(server)
    with patch.object(logger, "handlers", [handler]), patch.object(logger, "propagate", False):
        logger.setLevel(logging.DEBUG)
        yield


@contextlib.contextmanager
def prefect_away(server: Server) -> Iterator[None]:
    """Within the block nothing of Prefect's engine or server is used."""
    requested_at = lambda: datetime.fromtimestamp(server.fixture.now(), UTC)  # noqa: E731
    call = lambda task, *args, **kwargs: run_task(task, args, kwargs)  # noqa: E731
    seams: list[tuple[Any, str, Any]] = [
        (artifacts, "acreate_markdown_artifact", server.artifact),
        (artifacts, "acreate_progress_artifact", server.progress),
        (artifacts, "aupdate_progress_artifact", server.show_progress),
        (deployments, "arun_deployment", server.run_deployment),
        (flow_runs, "apause_flow_run", server.pause),
        (flow_runs, "aresume_flow_run", server.resume),
        (events, "emit_event", server.emit),
        (orchestration, "get_client", server.client),
        (runtime.flow_run, "get_id", lambda: PROCESS.get().flow_run_id),
        (runtime.flow_run, "get_scheduled_start_time", requested_at),
        (Task, "__call__", call),
        (Environment, "aload", server.open),
        (random, "uniform", lambda least, most: least),  # a step waits as long each time that it is replayed
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(CLOCK.reset, CLOCK.set(server.fixture.now))
        stack.enter_context(_run_log(server))
        for owner, name, stand_in in seams:
            stack.enter_context(patch.object(owner, name, stand_in))
        stack.enter_context(patch.dict(runtime.task_run.FIELDS, {"run_count": RUN_COUNT.get}))
        # Runs have the same ids in every test environment; a process would begin with no page.
        stack.enter_context(patch.dict(report._written, clear=True))
        yield
