"""What a hotfix has in place of a canary (playbook 6): its exploit is refused, and its first minutes are watched."""

from blocks.environment import Environment
from playbook.claim import Claim, Decision
from playbook.report import Report
from playbook.requests import ExploitCheck
from playbook.verdict import against
from tasks.monitor import clock, monitor
from tasks.report import note
from tasks.traffic import promote
from tasks.validation import exploit_check


async def fix_verified(env: Environment, claim: Claim, service: str, *, on_canary: bool = False) -> str | None:
    """Every exploit that was given for ``service`` is refused by the new revision. Returns the first that is not, or
    None."""
    checks: tuple[ExploitCheck, ...] = claim.hotfix.exploit if claim.hotfix is not None else ()
    for check in (check for check in checks if check.service == service):
        status = await exploit_check(env, check, on_canary)
        if status not in check.refused_with:
            return f"{service}: the hole is still open: {check} answered {status}"
    return None


async def first_minutes(env: Environment, report: Report) -> Report:
    """A hotfix that everybody has is judged as a canary would be, for the policy's first minutes.

    Evidence against it takes it back. Without evidence it stays: it was approved without, and the smoke tests passed.
    """
    claim = report.claim
    if claim.bake_start_s is None:
        claim = claim.baking_from(await clock(env))
        await promote(env, claim, claim.lead)
        report = report.at(claim)
    verdicts = await monitor(env, claim, env.policy.first_minutes())
    worst = verdicts[0]
    report = await note(report.judged(verdicts), f"{worst.service}: {worst.action}. {worst.explanation}")
    if bad := against(verdicts):
        return report.deciding(Decision.REVERT, f"{bad.service}: {bad.explanation}")
    return report
