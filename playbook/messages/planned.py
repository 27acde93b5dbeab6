"""The page of a plan-only run: what would be done, changed and said, and what each check says. Markdown."""

from collections.abc import Sequence

from playbook.messages.checklist import table
from playbook.messages.escape import code_block, markdown
from playbook.messages.forecast import forecast_table
from playbook.messages.plan import plan_table, rollback_plan
from playbook.messages.report import Report


def planned_page(report: Report, notes: str, said: Sequence[str]) -> str:
    """``notes`` are the commits since what serves, ``said`` the messages that a release would send."""
    lease = report.lease
    blocks = [f"## Plan: {lease.version} to {report.environment}"]
    if report.outcome:
        blocks.append(markdown(report.outcome.message))
    blocks += ["**Users:** nothing changes for them; a plan writes nothing.", "### What each check says"]
    blocks += [table(report.checklist), "### What it would change", plan_table(lease)]
    if report.forecasts:
        blocks += ["### Forecast of the bake", forecast_table(report.forecasts)]
    blocks += ["### What has changed since", code_block(notes or "not known")]
    blocks += ["### What would be said", *(code_block(text) for text in said)]
    return "\n\n".join([*blocks, "### Roll back by hand", code_block(rollback_plan(lease))])
