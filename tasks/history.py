"""What Prefect remembers of the runs of an environment, as records. Reading only."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import artifacts, task
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterTags,
    TaskRunFilter,
    TaskRunFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort

from playbook.history.record import VERSION, Flow, Run, Step
from playbook.release.outcome import ReleaseOutcome
from playbook.text import clean
from tasks.retries import READ, TELL

PAGE = 200
"""The most that Prefect's API answers at once."""
_NOTHING_HAPPENED = {ReleaseOutcome.PASSED, ReleaseOutcome.PLANNED, ReleaseOutcome.UNFIT, ReleaseOutcome.ALARMED}
ENDS = [one.value for one in ReleaseOutcome if one not in _NOTHING_HAPPENED] + ["Failed", "Crashed", "Cancelled"]
"""The states that a retrospective or a review looks at: not the recoveries that found nothing, every ten minutes."""


@task(name="read runs", task_run_name="read runs of {environment}", **READ)
async def runs_between(environment: str, from_s: float, to_s: float) -> tuple[Run, ...]:
    """Every run of our flows that ended in the environment from ``from_s`` to ``to_s`` (unix seconds), oldest first."""
    wanted = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[environment]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=ENDS)),
        end_time=FlowRunFilterEndTime(after_=_time(from_s), before_=_time(to_s)),
    )
    flows = FlowFilter(name=FlowFilterName(any_=[flow.value for flow in Flow]))
    async with get_client() as client:
        names = {one.id: one.name for one in await client.read_flows(flow_filter=flows)}
        found: list[FlowRun] = []
        while True:
            page = await client.read_flow_runs(
                flow_filter=flows, flow_run_filter=wanted, sort=FlowRunSort.END_TIME_DESC, limit=PAGE, offset=len(found)
            )
            found += page
            if len(page) < PAGE:
                break
    unique = {run.id: run for run in found}  # one that ended while the pages were read may stand on two
    records = [record(run, names[run.flow_id], environment) for run in unique.values()]
    return tuple(sorted(records, key=lambda run: run.ended_s))


@task(name="read steps", task_run_name="read steps", **READ)
async def with_steps(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, each with its task runs."""
    async with get_client() as client:
        return tuple([run.model_copy(update={"steps": await _steps(client, run.run_id)}) for run in runs])


@task(name="keep page", task_run_name="keep page {key}", **TELL)
async def keep_page(key: str, page: str, description: str) -> None:
    """The page (Markdown) stands in the UI under its key."""
    await artifacts.acreate_markdown_artifact(clean(page, len(page)), key=key, description=clean(description, 500))


async def _steps(client: PrefectClient, run_id: str) -> tuple[Step, ...]:
    wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_id]))
    found = await client.read_task_runs(task_run_filter=wanted, limit=PAGE)
    return tuple(
        Step(name=one.name, started_s=one.start_time.timestamp(), ended_s=one.end_time.timestamp())
        for one in found
        if one.start_time is not None and one.end_time is not None
    )


def record(run: FlowRun, flow: str, environment: str) -> Run:
    """One of Prefect's flow runs as a record."""
    request = run.parameters.get("request")
    given: dict[str, Any] = request if isinstance(request, dict) else {}
    message = (run.state.message if run.state else None) or ""
    version = VERSION.search(str(given.get("version") or "")) or VERSION.search(f"{run.name} {message}")
    started = run.start_time or run.created
    ended = run.end_time or started
    asked = run.expected_start_time or started
    assert started is not None
    assert ended is not None
    assert asked is not None
    return Run(
        run_id=str(run.id),
        flow=Flow(flow),
        environment=environment,
        outcome=(run.state_name or ""),
        message=message,
        version=version[0] if version else "",
        requested_by=str(given.get("requested_by") or ""),
        overrides=_overrides(given),
        asked_s=asked.timestamp(),
        started_s=started.timestamp(),
        ended_s=ended.timestamp(),
        worked_s=run.total_run_time.total_seconds(),
    )


def _overrides(given: dict[str, Any]) -> tuple[str, ...]:
    found = given.get("overrides") or []
    named = [str(one.get("item", "")) for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return tuple(name for name in named if name) or (("checklist",) if given.get("override") else ())


def _time(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
