"""A plan-only run: what has changed since what serves, and the page with everything that a release would do and say."""

from typing import NamedTuple

from prefect import task

from blocks.environment import Environment
from playbook.checklist.notes import draft, summary
from playbook.errors import Refused, Transient
from playbook.messages.planned import planned_page
from playbook.messages.report import Report
from playbook.release.plan import Order
from playbook.release.version import VERSION
from tasks.checklist import serving_version
from tasks.report import show
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


async def show_plan(report: Report, changes: Changes, said: tuple[str, ...]) -> None:
    """The page of the plan stands in the UI, under a key of its own."""
    key = f"plan-{report.environment}-{report.lease.version}"
    await show(key, planned_page(report, changes.notes, said), report.outcome.message if report.outcome else "")
