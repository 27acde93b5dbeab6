"""The status page of each environment (`playbook.messages.status`), written whenever something changes.

It is written in the background of the run that changes something: no release waits for it, and none fails by it. A run
writes the page of every environment that it holds, and at its end once more with its outcome.
"""

import asyncio
from collections.abc import Iterable
from uuid import UUID

from prefect import get_run_logger
from prefect.client import orchestration
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas import filters, sorting
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from blocks import status_page
from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.checklist.items import Answer
from playbook.errors import BadRequest, ReleaseError
from playbook.lease.lease import Lease
from playbook.lease.record import Record
from playbook.messages.status import (
    ENDED_MAX,
    RELEASING,
    Ended,
    Link,
    Serving,
    Status,
    link_to,
    newest_release,
    page,
    people,
    serving_of,
    ways_back,
)
from playbook.release.outcome import FOUND_NOTHING, FlowResult, ReleaseOutcome
from playbook.release.traffic import ServiceSnapshot
from playbook.release.version import VERSION, version_of
from playbook.rollback.plan import preview
from playbook.text import clean
from tasks import status_forms, windows
from tasks.each_service import settle
from tasks.links import all_logs_url
from tasks.run_name import TOOK_BACK, deployed_run

LISTED = ("release", "hotfix", "rollback", "migration-rollback", "mitigate", "recovery", "watch")
"""The flows whose outcomes are listed."""
OBSERVING = frozenset({"recovery", "watch"})
"""Those that are listed only where they found something."""
SERVED = (ReleaseOutcome.PROMOTED.value, ReleaseOutcome.ROLLED_BACK.value, "Running")
"""States of a run that may have brought what serves now."""
OVER = [StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED]
TAKING_BACK = frozenset({"recovery", "rollback"})
"""Those that take back a release of another run, and are tagged `TOOK_BACK` then."""
REFRESHING = "recovery"
"""The flow that writes the page although it changed nothing: what another tool changed is there within 10 minutes."""
WRITE_WAITS_S = 10
END_WAITS_S = 8
"""How long the end of a run waits for the page. What it does for users is long done then."""
PAGE_MAX = 200_000

_held: dict[str, Environment] = {}
"""The environments that this process changes something in, by name. A process carries out one flow run."""
_writing: dict[str, "asyncio.Task[None]"] = {}
_words: dict[str, str] = {}
_waiting: set[str] = set()
_pages: dict[str, UUID] = {}
_written: dict[str, str] = {}
_deployments: dict[str, dict[str, DeploymentResponse]] = {}


def holds(env: Environment) -> None:
    """This run changes something in ``env``: its page is written now, and from now on at every step."""
    if deployed_run() is not None:
        _held[env.name] = env
        show(env.name)


def show(environment: str, words: str = "") -> None:
    """The page is written anew in the background, if this run holds the environment. ``words`` name the last step."""
    if environment not in _held:
        return
    _words[environment] = words or _words.get(environment, "")
    if environment in _writing and not _writing[environment].done():
        _waiting.add(environment)
        return
    _writing[environment] = asyncio.create_task(_write_until_current(_held[environment]))


async def finish(outcome: FlowResult, name: str) -> None:
    """The pages say how this run ended, under its ``name``. A run that changed nothing leaves no trace."""
    run = deployed_run()
    if run is None or not name:
        return
    environment = str((run.parameters or {}).get("environment", ""))
    is_listed = listed(run, outcome) and bool(environment)
    if environment and environment not in _held and (is_listed or REFRESHING in run.tags):
        try:
            _held[environment] = await Environment.open(environment)
        except (BadRequest, *PREFECT_AWAY) as unknown:
            get_run_logger().warning("the status page was not written: %s", unknown)
    try:
        async with asyncio.timeout(END_WAITS_S):
            await asyncio.gather(*_writing.values(), return_exceptions=True)
            _words.clear()
            pages = (
                write(env, _own_end(env, run, outcome, name) if is_listed and env.name == environment else None)
                for env in _held.values()
            )
            await asyncio.gather(*pages)
    except TimeoutError:
        get_run_logger().warning("the status page was not written within %s s; the next run writes it", END_WAITS_S)


def _own_end(env: Environment, run: FlowRun, outcome: FlowResult, name: str) -> Ended:
    """How this run ended, as its own page lists it before Prefect knows."""
    return Ended(
        name=name,
        url=env.run_url(str(run.id)),
        outcome=outcome.end.value,
        reason=outcome.message,
        at_s=unix_s(),
        by=_asked_by(run),
        flow=_flow_of(run),
        release=version_of(outcome.release_id),
        took_back=version_of(outcome.took_back),
    )


def listed(run: FlowRun, outcome: FlowResult) -> bool:
    """Whether the end of this run is listed: not a look that found nothing, and not a run that moves no user."""
    tags = set(run.tags or ())
    if tags & OBSERVING and outcome.end in FOUND_NOTHING:
        return False
    return bool(tags & set(LISTED))


async def _write_until_current(env: Environment) -> None:
    while True:
        _waiting.discard(env.name)
        await write(env)
        if env.name not in _waiting:
            return


async def write(env: Environment, mine: Ended | None = None) -> None:
    """The page of ``env`` is current. ``mine`` is the end of this run, which Prefect does not know yet.

    What cannot be read is left out or said to be unknown. It raises nothing that a release could fail by.
    """
    try:
        async with asyncio.timeout(WRITE_WAITS_S):
            text = clean(page(await status_of(env, mine)), PAGE_MAX)
            async with orchestration.get_client() as client:
                if env.name not in _pages:
                    _pages[env.name], _written[env.name] = await status_page.find(client, env.name)
                if text != _written[env.name]:
                    _pages[env.name] = await status_page.write(client, env.name, _pages[env.name], text)
                    _written[env.name] = text
    except (*PREFECT_AWAY, ObjectNotFound, ReleaseError, TimeoutError) as away:
        get_run_logger().warning("the status page of %s was not written: %r", env.name, away)


def address(env: Environment) -> str:
    """Where the page is seen: its own address where this process knows it, which it does once it has written it."""
    page_id = _pages.get(env.name)
    return env.ui(f"/artifacts/artifact/{page_id}") if page_id else link_to(env.name, env.ui_url)


async def status_of(env: Environment, mine: Ended | None = None) -> Status:
    """Everything that the page shows. Raises: PREFECT_AWAY."""
    found, failures = await settle({service: env.cloud_run.snapshot(service) for service in env.service_names})
    snapshots = list(found.values())
    serving = tuple(
        serving_of(found[service])
        if service in found
        else Serving(service=service, problem=f"could not be read: {failures[service]}")
        for service in env.service_names
    )
    leases = _leases(snapshots)
    async with orchestration.get_client() as client:
        runs, deployments, staged, released_by, next_start_s, notices = await asyncio.gather(
            _ended_runs(client, env.name),
            _deployments_of(client, env.name),
            status_forms.passed_staging(client, env),
            _released_by(client, env.name, serving),
            _next_start_s(client, env.name),
            _notices(env),
        )
    staged = "" if staged == newest_release(serving) else staged
    ended = [_ended(env, run) for run in runs if mine is None or str(run.id) not in mine.url]
    return Status(
        environment=env.name,
        serving=serving,
        under_way=leases,
        last_words=_words.get(env.name, "") if leases else "",
        released_by=released_by,
        ended=(*([mine] if mine else []), *ended),
        next_start_s=next_start_s,
        rollback=preview(snapshots),
        notices=notices,
        forms=status_forms.forms(env, deployments, ways_back(snapshots), staged),
        starts=tuple(status_forms.starts(env, deployments)),
        places=places_of(env, serving),
        ui_url=env.ui_url,
    )


async def _deployments_of(client: PrefectClient, environment: str) -> dict[str, DeploymentResponse]:
    """What people start, read once in a run: their schemas make it the largest answer of all."""
    if environment not in _deployments:
        _deployments[environment] = await status_forms.deployments(client, environment)
    return _deployments[environment]


def _leases(snapshots: Iterable[ServiceSnapshot]) -> tuple[Lease, ...]:
    records = [Record.parse(one.service, one.annotations) for one in snapshots]
    return tuple(record.lease for record in records if isinstance(record, Record) and record.lease is not None)


async def _notices(env: Environment) -> tuple[str, ...]:
    """What keeps a release from starting now: a stopped line, a freeze window. Raises: Transient (Prefect is away)."""
    found = {"Stop the line": await windows.line(env), "Freeze window": windows.freeze(env)}
    return tuple(f"{name}: {fact}" for name, (answer, fact, _) in found.items() if answer is Answer.FAIL)


def places_of(env: Environment, serving: Iterable[Serving]) -> tuple[Link, ...]:
    """Where people look further: what this environment has of it."""
    version = VERSION.fullmatch(newest_release(serving))
    commit = version["commit"] if version else ""
    found = {
        "dashboard": env.dashboard,
        "logs": all_logs_url(env),
        "GitHub": env.code_host.commits_url("", commit) if env.code_host is not None and commit else "",
    }
    return tuple(Link(title=name, url=url) for name, url in found.items() if url)


async def _ended_runs(client: PrefectClient, environment: str) -> list[FlowRun]:
    found = await client.read_flow_runs(
        flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=list(LISTED))),
        flow_run_filter=filters.FlowRunFilter(
            tags=filters.FlowRunFilterTags(all_=[environment]),
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=OVER)),
        ),
        sort=sorting.FlowRunSort.END_TIME_DESC,
        limit=3 * ENDED_MAX,
    )
    return [one for one in found if not (OBSERVING & set(one.tags) and _found_nothing(one))]


def _found_nothing(run: FlowRun) -> bool:
    """Whether a run that observes has nothing to tell: it passed, was cancelled, or never started."""
    return run.start_time is None or run.state_name in (*FOUND_NOTHING, "Cancelled")


def _ended(env: Environment, run: FlowRun) -> Ended:
    flow, version = _flow_of(run), _version_in(run.tags)
    return Ended(
        name=run.name,
        url=env.run_url(str(run.id)),
        outcome=run.state_name or "Unknown",
        reason=(run.state.message or "") if run.state else "",
        at_s=run.end_time.timestamp() if run.end_time else unix_s(),
        by=_asked_by(run),
        flow=flow,
        release=version if flow in RELEASING else "",
        took_back=version if flow in TAKING_BACK and TOOK_BACK in run.tags else "",
    )


def _flow_of(run: FlowRun) -> str:
    """The flow, by the tag that each deployment of it has; empty for one that is not listed."""
    return next((name for name in LISTED if name in run.tags), "")


def _version_in(tags: Iterable[str]) -> str:
    """The version that a run is tagged with, the last one; empty where there is none."""
    return next((tag for tag in reversed(list(tags)) if VERSION.fullmatch(tag)), "")


def _asked_by(run: FlowRun) -> str:
    """Who asked for the run, and who approved it; empty where its request does not say."""
    request = (run.parameters or {}).get("request")
    return people(request) if isinstance(request, dict) else ""


async def _released_by(client: PrefectClient, environment: str, serving: Iterable[Serving]) -> str:
    """Who asked for what serves now, and who approved it; empty where no run of it is known any more.

    This run counts too, which is still under way when it writes its end on the page.
    """
    release = newest_release(serving)
    found = await client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            tags=filters.FlowRunFilterTags(all_=[environment, release]),
            state=filters.FlowRunFilterState(name=filters.FlowRunFilterStateName(any_=list(SERVED))),
        ),
        sort=sorting.FlowRunSort.START_TIME_DESC,
        limit=5,
    )
    return next(filter(None, map(_asked_by, found)), "")


async def _next_start_s(client: PrefectClient, environment: str) -> float | None:
    """When the schedule starts the next release."""
    found = await client.read_flow_runs(
        flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=["release"])),
        flow_run_filter=filters.FlowRunFilter(
            tags=filters.FlowRunFilterTags(all_=[environment, "auto-scheduled"]),
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        ),
        sort=sorting.FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=1,
    )
    starts = [one.next_scheduled_start_time or one.expected_start_time for one in found]
    return next((start.timestamp() for start in starts if start), None)
