"""What Prefect remembers of the runs of an environment, as records. Reading only."""

import asyncio
import math
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
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.client.schemas.sorting import FlowRunSort, TaskRunSort
from prefect.exceptions import ObjectNotFound

from blocks import ReleaseRecords
from blocks.environment import Environment
from playbook.errors import BadRequest
from playbook.history.record import VERSION, Flow, Run, Step
from playbook.lease.build import Holder
from playbook.release.outcome import FOUND_NOTHING, ReleaseOutcome
from playbook.release.plan import revision_name
from playbook.release.version import Version
from playbook.text import clean
from tasks.retries import NO_TELEMETRY, READ, TELL

PAGE = 200
"""The most that Prefect's API answers at once."""
RATIO_S = 7200.0
"""At most so long before the end of a release its error ratio is looked for."""
_NOTHING_HAPPENED = FOUND_NOTHING | {ReleaseOutcome.PLANNED, ReleaseOutcome.UNFIT, ReleaseOutcome.ALARMED}
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
    # One that ended while the pages were read may stand on two. What Prefect has deleted is in our own records.
    known = {run.run_id: run for run in await _kept(environment, from_s, to_s)}
    known |= {str(run.id): record(run, names[run.flow_id], environment) for run in found}
    return tuple(sorted(known.values(), key=lambda run: run.ended_s))


@task(name="keep records", task_run_name="keep records of {environment}", **TELL)
async def keep_records(environment: str, runs: Sequence[Run]) -> None:
    """The runs stand in our own records, a block for each month: a quarter is whole whatever Prefect has deleted."""
    for month, found in _by_month(runs).items():
        kept = {run.run_id: run for run in await _records(environment, month)}
        merged = {**kept, **{run.run_id: run.model_copy(update={"steps": ()}) for run in found}}
        if merged != kept:
            in_order = tuple(sorted(merged.values(), key=lambda run: run.ended_s))
            await ReleaseRecords(runs=in_order).save(_name(environment, month), overwrite=True)


@task(name="read error ratio", task_run_name="read error ratio of {run.version}", **READ)
async def error_ratios(env: Environment, run: Run) -> dict[str, float | None]:
    """Service -> the highest error ratio (0 to 1) that its new revision had before the run ended; None: not known."""
    if not VERSION.fullmatch(run.version):
        return {}
    holder = Holder(flow_run_id=run.run_id, now_s=0, deadline_s=0)
    release_id = f"{run.version}-{holder.short_id}"
    span_s = min(max(run.took_s, 60.0), RATIO_S)

    async def highest(service: str) -> float | None:
        revision = revision_name(service, Version.parse(run.version), release_id)
        query = env.queries.render("error_ratio", env.service(service), revision)
        try:
            found = await env.prometheus.series(query, span_s, run.ended_s)
        except (*NO_TELEMETRY, BadRequest):
            return None
        values = [value for series in found for _, value in series.samples if math.isfinite(value)]
        return max(values, default=None)

    ratios = await asyncio.gather(*map(highest, env.service_names))
    return dict(zip(env.service_names, ratios, strict=True))


async def _kept(environment: str, from_s: float, to_s: float) -> list[Run]:
    """Our own records of the runs that ended from ``from_s`` to ``to_s``."""
    months = sorted({_month(from_s + at) for at in range(0, max(1, int(to_s - from_s)), 7 * 86_400)} | {_month(to_s)})
    found = await asyncio.gather(*(_records(environment, month) for month in months))
    return [run for runs in found for run in runs if from_s <= run.ended_s <= to_s]


async def _records(environment: str, month: str) -> tuple[Run, ...]:
    """The records of one month; none where none were kept."""
    try:
        found: ReleaseRecords = await ReleaseRecords.aload(_name(environment, month))
    except ValueError as missing:
        if not isinstance(missing.__cause__, ObjectNotFound):
            raise
        return ()
    return found.runs


def _by_month(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(_month(run.ended_s), []).append(run)
    return found


def _month(at_s: float) -> str:
    return f"{_time(at_s):%Y-%m}"


def _name(environment: str, month: str) -> str:
    return f"records-{environment}-{month}"


@task(name="read steps", task_run_name="read steps", **READ)
async def with_steps(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, each with its task runs."""
    async with get_client() as client:
        return tuple([run.model_copy(update={"steps": await _steps(client, run.run_id)}) for run in runs])


@task(name="keep page", task_run_name="keep page {key}", **TELL)
async def keep_page(env: Environment, key: str, page: str, description: str) -> str:
    """The page (Markdown) stands in the UI under its key. Returns the address that shows it."""
    kept = await artifacts.acreate_markdown_artifact(
        clean(page, len(page)), key=key, description=clean(description, 500)
    )
    return env.ui(f"/artifacts/artifact/{kept}")


async def _steps(client: PrefectClient, run_id: str) -> tuple[Step, ...]:
    wanted = TaskRunFilter(flow_run_id=TaskRunFilterFlowRunId(any_=[run_id]))
    found: list[TaskRun] = []
    while True:
        page = await client.read_task_runs(
            task_run_filter=wanted, sort=TaskRunSort.ID_DESC, limit=PAGE, offset=len(found)
        )
        found += page
        if len(page) < PAGE:
            break
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
    # A person may have renamed the run: the version is a tag of it, which no one edits by the way.
    tagged = next((tag for tag in run.tags if VERSION.fullmatch(tag)), "")
    version = VERSION.search(str(given.get("version") or "")) or VERSION.search(f"{tagged} {message} {run.name}")
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
