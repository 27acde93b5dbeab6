"""A plan-only run: what has changed since what serves, and the page with everything that a release would do and say."""

import asyncio
from typing import NamedTuple

from prefect import artifacts, get_run_logger, task

from blocks.environment import Environment
from blocks.prefect_api import PREFECT_AWAY
from playbook.checklist.notes import draft, summary
from playbook.errors import Refused, Transient
from playbook.messages.planned import planned_page
from playbook.messages.report import Report
from playbook.release.plan import Order
from playbook.release.version import VERSION
from playbook.text import clean
from tasks.checklist import serving_version
from tasks.report import ARTIFACT_MAX, DESCRIPTION_MAX, PAGE_WAITS_S
from tasks.retries import TELL, is_last_try


class Changes(NamedTuple):
    """The commits since what serves: in one line, and as release notes."""

    line: str
    notes: str


@task(name="changes", task_run_name="changes since what serves", **TELL)
async def changes_since(env: Environment, order: Order) -> Changes:
    """What the version brings. What cannot be told is said, and fails nothing."""
    if env.code_host is None:
        return Changes(order.changes, "")
    try:
        since = await serving_version(env)
        if not (found := VERSION.fullmatch(since)):
            return Changes(order.changes, "What serves has no recorded commit, so there is nothing to compare with.")
        compared = await env.code_host.compare(found["commit"], order.version.commit)
    except (Transient, Refused) as away:
        if isinstance(away, Transient) and not is_last_try(TELL):
            raise
        return Changes(order.changes, f"The commits cannot be told: {away}")
    notes = f"{draft(str(order.version), since, compared)}\n{compared.url}"
    return Changes(order.changes or summary(compared), notes)


@task(name="plan", task_run_name="plan {report.lease.version}", **TELL)
async def show_plan(report: Report, changes: Changes, said: tuple[str, ...]) -> None:
    """The page of the plan stands in the UI; where it cannot be written, the log has it."""
    page = clean(planned_page(report, changes.notes, said), ARTIFACT_MAX)
    key = f"plan-{report.environment}-{report.lease.version}"
    try:
        written = artifacts.acreate_markdown_artifact(
            page, key=key, description=clean(report.outcome.message if report.outcome else "", DESCRIPTION_MAX)
        )
        await asyncio.wait_for(written, PAGE_WAITS_S)
    except (*PREFECT_AWAY, TimeoutError) as away:
        get_run_logger().warning("the plan is not on a page (%r):\n%s", away, page)
