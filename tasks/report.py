"""The page of a release in the Prefect UI: one artifact, written in place at every step."""

import asyncio
from urllib.parse import quote
from uuid import UUID

from prefect import artifacts, get_run_logger, runtime
from prefect.client import orchestration
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import ObjectNotFound

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.analysis.forecast import Forecast
from playbook.checklist.items import Item
from playbook.lease.lease import Lease
from playbook.messages.checklist import table
from playbook.messages.release_page import page
from playbook.messages.report import Note, Report
from playbook.release.outcome import FlowResult
from playbook.text import clean
from tasks import status
from tasks.links import links_of

ARTIFACT_MAX = 2_000_000
"""Characters of a page with its pictures."""
DESCRIPTION_MAX = 500
PAGE_WAITS_S = 3
"""For a server that hangs: users who are to be taken back come first, and the next line writes the page again."""

_written: dict[tuple[str, str], UUID] = {}
"""run and key -> the artifact that this process has made; it is written in place. A run that goes on with a release
makes another one under the same key, and the key's page shows the newest."""
_reported: set[tuple[str, str]] = set()
"""run and key of each report that this process has opened"""


def has_report(key: str) -> bool:
    """Whether this run has opened a report under ``key``: the page is the report's from then on."""
    return (str(runtime.flow_run.get_id()), key) in _reported


def has_page() -> bool:
    """Whether this run has written any page."""
    return any(run == str(runtime.flow_run.get_id()) for run, _ in _written)


def page_url(env: Environment, key: str) -> str:
    """Where this run's page under ``key`` is seen: its own address once it is written, before that the key's, which
    lists it."""
    page = _written.get((str(runtime.flow_run.get_id()), key))
    return env.ui(f"/artifacts/artifact/{page}" if page else f"/artifacts/key/{quote(key)}")


async def open_report(
    env: Environment,
    lease: Lease,
    *,
    checklist: tuple[Item, ...] = (),
    changes: str = "",
    notes: tuple[Note, ...] = (),
    forecasts: tuple[Forecast, ...] = (),
) -> Report:
    """The report of a release that holds its services now, with its links. ``notes``: what was done before."""
    report = Report(
        environment=env.name,
        lease=lease,
        checklist=checklist,
        changes=changes,
        forecasts=forecasts,
        has_staging=bool(env.staging),
        bake_s=env.policy.bake_s if lease.bake_s is None else lease.bake_s,
        notes=notes,
        links=await links_of(env, lease),
    )
    _reported.add((str(runtime.flow_run.get_id()), report.key))
    return report


async def note(report: Report, text: str) -> Report:
    """The page carries one more line of the timeline, and is what the UI shows. Returns the report with it.

    A page that cannot be written now is written with the next line: no release waits for it. It is no step of the
    release, so it is no task: the run's graph shows the release.
    """
    noted = report.noted(unix_s(), text)
    status.show(report.environment, text)
    get_run_logger().info("%s: %s", noted.environment, text)
    await show_page(noted, f"{noted.lease.version}: {text}")
    return noted


async def show_checklist(env: Environment, version: str, items: tuple[Item, ...]) -> None:
    """The checks stand in the UI as one table, written anew as more of them are answered."""
    stopping = [item.topic.words for item in items if item.is_open]
    others = [item.topic.words for item in items if not item.is_open and not item.is_met]
    said = f"stopped by: {', '.join(stopping)}" if stopping else "nothing stops it"
    described = f"{version}: {said}" + (f"; not met, and allowed to be: {', '.join(others)}" if others else "")
    text = f"## Checklist: {version} to {env.name}\n\n{table(items)}"
    await show(f"checklist-{env.name}-{version}", text, described)


async def show_page(report: Report, told: str) -> None:
    """The release's page is what ``report`` says. ``told`` is one line about it."""
    await show(report.key, page(report, pictures=True), told)


async def show(key: str, text: str, told: str) -> None:
    """The page under ``key`` is this Markdown. ``told`` is one line about it. It takes `PAGE_WAITS_S` at most."""
    try:
        await asyncio.wait_for(_write(key, clean(text, ARTIFACT_MAX), clean(told, DESCRIPTION_MAX)), PAGE_WAITS_S)
    except (*PREFECT_AWAY, TimeoutError) as away:
        get_run_logger().warning("the page does not say yet: %s (%r)", told, away)


async def _write(key: str, text: str, told: str) -> None:
    mine = (str(runtime.flow_run.get_id()), key)
    if mine in _written:
        try:
            async with orchestration.get_client() as client:
                await client.update_artifact(_written[mine], ArtifactUpdate(data=text, description=told))
        except ObjectNotFound:
            del _written[mine]
        else:
            return
    _written[mine] = await artifacts.acreate_markdown_artifact(text, key=key, description=told)


async def closing(report: Report, outcome: FlowResult) -> Report:
    """The page says how the release ended."""
    return await note(report.model_copy(update={"outcome": outcome}), f"ended: {outcome.end.value}")
