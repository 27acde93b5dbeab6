"""What a hotfix has in place of a canary (playbook 6): its exploit is refused, and its first minutes are watched."""

from collections.abc import Sequence
from functools import partial

from blocks.environment import Environment
from playbook.analysis.verdict import Verdict, against
from playbook.lease.lease import Decision, Lease
from playbook.messages.release_page import verdict_line
from playbook.messages.report import Report
from tasks.lease import save_lease
from tasks.monitor import clock, monitor
from tasks.report import note
from tasks.validation import exploit_check
from tasks.visible_step import visible_step


async def fix_verified(env: Environment, lease: Lease, service: str, *, at_tag: bool = False) -> str | None:
    """Every exploit that was given for ``service`` is refused by the new revision, at its tag's URL or where it serves.
    Returns the first that is not, or None."""
    for check in (check for check in lease.exploit_checks if check.service == service):
        status = await exploit_check(env, check, lease if at_tag else None)
        if status not in check.refused_with:
            return f"{service}: the hole is still open: {check} answered {status}"
    return None


def bad_fix(verdicts: Sequence[Verdict]) -> str:
    """Why the first minutes are red: the first verdict against what all users have."""
    bad = against(verdicts)
    return f"{bad.service}: {bad.explanation}" if bad else ""


async def first_minutes(env: Environment, report: Report) -> Report:
    """A hotfix that every user has is judged as a canary would be, for the policy's first minutes.

    Evidence against it takes it back. Without evidence it stays: it was approved without, and the smoke tests passed.
    """
    lease = report.lease
    if lease.bake_start_s is None:
        lease = lease.baking_from(await clock(env))
        await save_lease(env, lease)
        report = report.at(lease)
    watched = partial(monitor, env, lease, env.policy.first_minutes(), report=report)
    verdicts = await visible_step(f"monitor {lease.version} in {env.name}", watched, bad_fix)
    report = await note(report.judged(verdicts), verdict_line(verdicts[0], lease.kind))
    if bad := against(verdicts):
        return report.deciding(Decision.REVERT, f"{bad.service}: {bad.explanation}")
    return report
