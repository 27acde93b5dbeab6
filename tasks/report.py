"""The page of a release in the Prefect UI, written anew at every step."""

import asyncio

from prefect import artifacts, get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.checklist.items import Item
from playbook.messages.checklist import rows
from playbook.messages.report import Report
from playbook.release.outcome import FlowResult
from playbook.text import clean
from tasks.retries import TELL

ARTIFACT_MAX = 2_000_000
"""Characters of a page with its pictures."""
DESCRIPTION_MAX = 500
PAGE_WAITS_S = 3
"""For a server that hangs: users who are to be taken back come first, and the next line writes the page again."""


@task(name="report", task_run_name="report: {text}", **TELL)
async def note(report: Report, text: str) -> Report:
    """The page carries one more line of the timeline, and is what the UI shows. Returns the report with it.

    A page that cannot be written now is written with the next line: no release waits for it.
    """
    noted = report.noted(unix_s(), text)
    told = f"{noted.lease.version}: {text}"
    try:
        page = artifacts.acreate_markdown_artifact(
            clean(noted.illustrated(), ARTIFACT_MAX), key=noted.key, description=clean(told, DESCRIPTION_MAX)
        )
        await asyncio.wait_for(page, PAGE_WAITS_S)
    except (*PREFECT_AWAY, TimeoutError) as away:
        get_run_logger().warning("the page does not say yet: %s (%r)", text, away)
    return noted


@task(name="show checklist", task_run_name="show checklist", **TELL)
async def show_checklist(env: Environment, version: str, items: tuple[Item, ...]) -> None:
    """The checks stand in the UI as one table, written anew as more of them are answered."""
    not_met = [item.topic.value for item in items if not item.is_met]
    described = f"{version}: {'not met: ' + ', '.join(not_met) if not_met else 'every item is met'}"
    try:
        table = artifacts.acreate_table_artifact(
            [{key: clean(value) for key, value in row.items()} for row in rows(items)],
            key=f"checklist-{env.name}-{version}",
            description=clean(described, DESCRIPTION_MAX),
        )
        await asyncio.wait_for(table, PAGE_WAITS_S)
    except (*PREFECT_AWAY, TimeoutError) as away:
        get_run_logger().warning("the table of the checklist was not written: %r", away)


async def closing(report: Report, outcome: FlowResult) -> Report:
    """The page says how the release ended."""
    return await note(report.model_copy(update={"outcome": outcome}), outcome.end.value)
