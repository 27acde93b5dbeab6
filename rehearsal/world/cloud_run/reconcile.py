"""What follows a write: start what is new, serve what was asked for, retire what nothing reaches any more.

The writes to one service are worked off one after another. A new revision that does not start leaves everything that
is served as it was. The proxy follows by ``propagation_delay_s``; instances are stopped only after it has.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import grpc

from rehearsal.world.cloud_logging import CloudLogging, Source
from rehearsal.world.cloud_run.operations import Operations
from rehearsal.world.cloud_run.plan import plan_for, routes_of
from rehearsal.world.cloud_run.state import (
    LATEST,
    FailureError,
    Images,
    Knobs,
    Plan,
    RevisionState,
    ServiceState,
    TrafficTarget,
    condition,
    set_condition,
)
from rehearsal.world.cloud_run.validation import limit, serving_container
from rehearsal.world.faults import NEVER, Fault, Write
from rehearsal.world.instances import Instance, Line, Program, StartFailedError
from rehearsal.world.proxy import Proxy

INTERNAL, NOT_FOUND, FAILED_PRECONDITION = 13, 5, 9
STOP_GRACE_S = 2.0
"""How long an instance may take to end when the world ends or is reset."""


class Reconciler:
    """Drives processes and proxy to what a service's message says. ``changed`` is called when instances come or go."""

    def __init__(
        self,
        app: Path,
        images: Images,
        proxy: Proxy,
        log: CloudLogging,
        operations: Operations,
        knobs: Knobs,
        changed: Callable[[], None],
    ) -> None:
        self._app, self._images, self._proxy, self._log = app, images, proxy, log
        self._operations, self._knobs, self._changed = operations, knobs, changed
        self._tasks: set[asyncio.Task[None]] = set()
        self._alive: set[Instance] = set()

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            task.get_loop().call_exception_handler({"message": "the world's reconciler failed", "exception": error})

    async def stop(self) -> None:
        """Nothing is being worked on, and no instance runs any more."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(self._end(instance, grace_s=STOP_GRACE_S) for instance in list(self._alive)))

    async def _end(self, instance: Instance, grace_s: float) -> None:
        await instance.stop(grace_s)
        self._alive.discard(instance)

    async def reconcile(
        self,
        state: ServiceState,
        wanted: Any,
        new: RevisionState | None,
        operation: Any,
        write: Write,
        fault: Fault | None = None,
    ) -> None:
        """Make ``wanted`` (the service as this write left it) what is served, and end its operation."""
        async with state.reconcile_lock:
            await asyncio.sleep(self._knobs.reconcile_delay_s)
            ordered = fault.operation if fault else ""
            try:
                if fault and ordered not in ("", NEVER):
                    self._fail_as_ordered(state, new, fault)
                if new:
                    await self._start_revision(state, wanted, new)
                await self._serve(state, wanted, write)
                failure = state.failure if self._knobs.ready_stays_false else None
            except FailureError as error:
                failure = error
                # What was started for this write, and is not to be served after all, is stopped.
                self.later(self._follow(state, state.plan, time.monotonic(), None))
            state.pending -= 1
            if ordered == NEVER:  # served, and still "reconciling"; the next write ends that
                write.result = NEVER
                return
            self._report(state, failure)
            write.result = "OK" if failure is None else f"error {failure.code}"
            if failure is None:
                self._operations.succeed(operation, state.message)
            else:
                self._operations.fail(operation, failure.code, failure.message, state.message)

    @staticmethod
    def _fail_as_ordered(state: ServiceState, new: RevisionState | None, fault: Fault) -> None:
        """Raise the FailureError that was ordered; a revision that the write made never becomes ready."""
        code = grpc.StatusCode[fault.operation].value[0]
        failure = FailureError(code, fault.message or f"{fault.operation.replace('_', ' ').lower()} (ordered)")
        if new:
            state.failure = failure
            _show_failed(new, failure)
        raise failure

    async def retire(self, state: ServiceState) -> None:
        """Stop every instance of a service that is deleted."""
        async with state.reconcile_lock:
            state.plan = Plan()
            await self._follow(state, state.plan, time.monotonic(), None)

    def _report(self, state: ServiceState, failure: FailureError | None) -> None:
        message = state.message
        message.reconciling = state.pending > 0
        if message.reconciling:
            return
        if failure is None:
            ready = condition("Ready", "SUCCEEDED")
        else:
            ready = condition("Ready", "FAILED", reason=failure.reason, message=failure.message)
        message.terminal_condition.CopyFrom(ready)
        bad = state.failure
        if bad is None:
            configured = condition("ConfigurationsReady", "SUCCEEDED")
        else:
            configured = condition("ConfigurationsReady", "FAILED", reason=bad.reason, message=bad.message)
        set_condition(message.conditions, configured)
        routed = failure is None or failure is state.failure
        set_condition(message.conditions, condition("RoutesReady", "SUCCEEDED" if routed else "FAILED"))

    async def _start_revision(self, state: ServiceState, wanted: Any, new: RevisionState) -> None:
        """The new revision is ready and is what LATEST means. Raises FailureError."""
        try:
            container = serving_container(new.template)
            image = container.image
            env = self._images.config(image)
            if env is None:
                raise FailureError(NOT_FOUND, f"Image '{image}' not found.", "CONTAINER_MISSING")
            new.env = dict(env) | {variable.name: variable.value for variable in container.env}
            # One that nothing is to reach is started all the same, and retired when it has proved itself.
            count = plan_for(state, wanted, state.latest_ready, new.name).counts.get(new.name, 1)
            await self._grow(state, new, count)
        except FailureError as failure:
            if state.latest_created == new.name:
                state.failure = failure
            _show_failed(new, failure)
            raise
        new.is_ready, state.failure = True, None
        state.message.latest_ready_revision = new.message.name
        new.message.reconciling = False
        new.message.observed_generation = new.message.generation
        skipped = "" if count else "HEALTH_CHECK_SKIPPED"
        set_condition(new.message.conditions, condition("ContainerHealthy", "SUCCEEDED", revision_reason=skipped))
        set_condition(new.message.conditions, condition("Ready", "SUCCEEDED"))

    async def _serve(self, state: ServiceState, wanted: Any, write: Write | None) -> None:
        """Traffic and instances are as ``wanted`` says. Raises FailureError, and then what was served goes on."""
        plan = plan_for(state, wanted, state.latest_ready)
        for name, _, _ in plan.targets:
            if name not in state.revisions:
                raise FailureError(
                    INTERNAL,
                    f"Revision '{name}' does not exist or is deleted. Update all traffic to route to currently "
                    "available revisions.",
                    "UNKNOWN",
                )
            if not state.revisions[name].is_ready:
                raise FailureError(FAILED_PRECONDITION, f"Revision '{name}' is not ready and cannot serve traffic.")
        await asyncio.gather(*(self._grow(state, state.revisions[name], count) for name, count in plan.counts.items()))
        state.plan = plan
        self._show_served(state, wanted)
        due = time.monotonic() + self._knobs.propagation_delay_s
        following = self._follow(state, plan, due, write)
        if self._knobs.propagation_delay_s:
            self.later(following)
        else:
            await following

    def _show_served(self, state: ServiceState, wanted: Any) -> None:
        message = state.message
        message.observed_generation = wanted.generation
        del message.traffic_statuses[:]
        for target in wanted.traffic or [TrafficTarget(type_=LATEST, percent=100)]:
            has_uri = target.tag and not wanted.default_uri_disabled
            uri = self._proxy.url(f"{state.name}#{target.tag}") if has_uri else ""
            message.traffic_statuses.add(
                type_=target.type_, revision=target.revision, percent=target.percent, tag=target.tag, uri=uri
            )
        reached = {name for name, _, _ in state.plan.targets}
        for revision in state.revisions.values():
            if revision.is_ready:
                active = (
                    condition("Active", "SUCCEEDED")
                    if revision.name in reached
                    else condition("Active", "FAILED", revision_reason="RETIRED")
                )
                set_condition(revision.message.conditions, active)

    async def _grow(self, state: ServiceState, revision: RevisionState, count: int) -> None:
        """The revision has at least ``count`` instances. Raises FailureError when one does not start."""
        missing = count - len(revision.instances)
        if missing <= 0:
            return
        new = [self._instance(state, revision) for _ in range(missing)]
        results = await asyncio.gather(*(instance.start() for instance in new), return_exceptions=True)
        started = [i for i, result in zip(new, results, strict=True) if result is None]
        failed = [result for result in results if isinstance(result, StartFailedError)]
        if failed:
            await asyncio.gather(*(self._end(instance, grace_s=0) for instance in new))
            text = (
                f"Revision '{revision.name}' is not ready and cannot serve traffic. The user-provided container failed "
                "to start and listen on the port defined by the PORT environment variable within the allocated timeout."
            )
            raise FailureError(FAILED_PRECONDITION, text, "REVISION_FAILED") from failed[0]
        for result in results:
            if isinstance(result, BaseException):
                raise result
        revision.instances += started
        self._changed()

    def _instance(self, state: ServiceState, revision: RevisionState) -> Instance:
        name = state.name
        source = Source(name.project, name.location, name.service, revision.name)
        program = Program(
            service=name.service,
            revision=revision.name,
            env=revision.env,
            memory_limit_bytes=int(limit(revision.template, "memory") or 0),
            cpu_limit=limit(revision.template, "cpu") or 0.0,
            app=self._app,
        )
        revision.started += 1

        def log(instance_id: str, line: Line) -> None:
            self._log.line(source, instance_id, line)

        instance = Instance(program, log, self._knobs.startup_timeout_s, number=revision.started)
        self._alive.add(instance)
        return instance

    async def _follow(self, state: ServiceState, plan: Plan, due: float, write: Write | None) -> None:
        """The proxy serves ``plan``, from ``due`` (monotonic seconds) on; then what is not needed is stopped."""
        async with state.follow_lock:
            await asyncio.sleep(due - time.monotonic())
            routes = routes_of(state, plan)
            for route in state.routes - routes.keys():
                await self._proxy.apply(route, {})
            held = self._hold_tags(state, plan, routes)
            for route, shares in routes.items():
                await self._proxy.guard(route, is_closed=state.is_closed, audience=state.audience)
                if route not in held:
                    await self._proxy.apply(route, shares)
            state.routes = set(routes)
            if write:
                write.served_at = time.time()
            # A newer plan may wait for its turn here and need what this one does not.
            for name, revision in state.revisions.items():
                needed = max(plan.counts.get(name, 0), state.plan.counts.get(name, 0), name in held.values())
                surplus = revision.instances[needed:]
                if surplus:
                    del revision.instances[needed:]
                    self.later(self._stop(state, revision.name, surplus))
        self._changed()

    def _hold_tags(self, state: ServiceState, plan: Plan, routes: Collection[str]) -> dict[str, str]:
        """The tags' routes that still go to the revision they had, with that revision; they follow later."""
        now = {f"{state.name}#{tag}": name for name, _, tag in plan.targets if tag}
        before, delay_s = state.tag_routes, self._knobs.tag_delay_s
        held = {}
        if delay_s:
            held = {route: before[route] for route, name in now.items() if before.get(route, name) != name}
            held = {route: name for route, name in held.items() if name in state.revisions}
        state.tag_routes = {**now, **held}
        if held:
            self.later(self._release_tags(state, set(held), delay_s))
        return held

    async def _release_tags(self, state: ServiceState, routes: set[str], delay_s: float) -> None:
        """After the delay the tags route to where they are to."""
        await asyncio.sleep(delay_s)
        for route in routes:
            state.tag_routes.pop(route, None)
        await self._follow(state, state.plan, time.monotonic(), None)

    async def _stop(self, state: ServiceState, revision: str, instances: list[Instance]) -> None:
        """The instances have answered what they had in hand, and have ended."""
        names = [f"{revision}.{instance.number}" for instance in instances]
        await self._proxy.remove(str(state.name), names, self._knobs.drain_timeout_s)
        await asyncio.gather(*(self._end(instance, self._knobs.drain_timeout_s) for instance in instances))


def _show_failed(revision: RevisionState, failure: FailureError) -> None:
    """The revision's conditions say why it cannot serve."""
    conditions = revision.message.conditions
    set_condition(conditions, condition("Ready", "FAILED", reason=failure.reason, message=failure.message))
    if failure.code == FAILED_PRECONDITION:
        reason = "HEALTH_CHECK_CONTAINER_ERROR"
        unhealthy = condition("ContainerHealthy", "FAILED", revision_reason=reason, message=failure.message)
        set_condition(conditions, unhealthy)
    revision.message.reconciling = False
