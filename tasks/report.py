"""The page of a release in the Prefect UI, written anew at every step."""

import time

from prefect import get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact

from blocks.prefect_api import PREFECT_AWAY
from playbook.outcome import Outcome
from playbook.report import Report
from tasks.retries import TELL


@task(name="report", task_run_name="report: {text}", **TELL)
async def note(report: Report, text: str) -> Report:
    """The page carries one more line of the timeline, and is what the UI shows. Returns the report with it.

    A page that cannot be written now is written with the next line: no release waits for it.
    """
    noted = report.noted(time.time(), text)
    told = f"{noted.claim.version}: {text}"
    try:
        await acreate_markdown_artifact(noted.illustrated(), key=noted.key, description=told)
    except PREFECT_AWAY as away:
        get_run_logger().warning("the page does not say yet: %s (%s)", text, away)
    return noted


async def closing(report: Report, outcome: Outcome) -> Report:
    """The page says how the release ended."""
    return await note(report.model_copy(update={"outcome": outcome}), outcome.end.value)
