"""What every release shares, from wherever its claim stands to its end: so a release that is resumed runs the same
lines."""

import asyncio

from blocks.environment import Environment
from flows.canary import bake
from flows.direct import first_minutes, fix_verified
from playbook.analysis.verdict import Action
from playbook.errors import Conflict, OutOfBandChange, Refused, Stuck
from playbook.lease.lease import Decision, Kind, Lease
from playbook.messages.report import Report
from playbook.messages.words import stable_names
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.version import SmokeTest
from tasks.announce import (
    end_incidents,
    notify_complete,
    notify_given_way,
    notify_interrupted,
    notify_reverted,
    start_watch,
    track_release,
)
from tasks.lease import release_lease
from tasks.monitor import second_look
from tasks.report import closing, note
from tasks.start import seconds_since
from tasks.traffic import check_settled, deploy_canary, promote, revert
from tasks.validation import check_error_ratio, smoke_test, wait_for_scrapes

AFTER_ROLLBACK = (SmokeTest.HEALTH, SmokeTest.AUTH, SmokeTest.PAGE)
"""Playbook 4, scenario 2, step 3: readiness and login. The rest takes longer than the rollback itself."""


async def carry_out(env: Environment, report: Report) -> FlowResult:
    """Go on from what the claim has decided, within `with_heartbeat`.

    Each step decides the next; the lead carries the decision before anybody moves.
    """
    try:
        if report.lease.decision is Decision.DEPLOY:
            report = await introduce(env, report)
        if report.lease.decision is Decision.BAKE:
            report = await bake(env, report)
        if report.lease.decision is Decision.PROMOTE:
            report = await promote_all(env, report)
        if report.lease.decision is Decision.PROMOTE and report.lease.kind is Kind.HOTFIX:
            report = await first_minutes(env, report)
        if report.lease.decision is Decision.REVERT:
            return await revert_all(env, report)
        return await complete(env, report)
    except OutOfBandChange as out_of_band:
        return await step_back(env, report, out_of_band)
    except (Refused, Conflict) as refusal:
        raise Stuck(f"{report.lease.release_id} cannot go on: {refusal} Its services stay as they are.") from refusal


async def introduce(env: Environment, report: Report) -> Report:
    """Every new revision runs at 0 %, passes its smoke tests and is scraped, before any user sees it."""
    lease = report.lease
    has_canary = env.policy.bake_s > 0 and lease.kind is not Kind.HOTFIX

    async def ready(service: str) -> str | None:
        return (
            await deploy_canary(env, lease, service)
            or await smoke_test(env, service, on_canary=True)
            or await fix_verified(env, lease, service, on_canary=True)
            or (await wait_for_scrapes(env, lease, service) if has_canary else None)
        )

    problems = [problem for problem in await asyncio.gather(*map(ready, lease.services)) if problem]
    if problems:
        return await note(report.deciding(Decision.REVERT, problems[0]), "a new revision is not fit for users")
    if has_canary:
        return report.deciding(Decision.BAKE)
    skipped = (
        f"{lease.hotfix.approver} allows to skip the canary" if lease.hotfix else f"{env.name} has no canary phase"
    )
    return report.deciding(Decision.PROMOTE, skipped)


async def promote_all(env: Environment, report: Report) -> Report:
    """All users are on the new revisions, one service after another, and the smoke tests pass there."""
    lease = report.lease
    for service in lease.services:
        await promote(env, lease, service)
    report = await note(report, "all users are on the new revisions")

    async def fit(service: str) -> str | None:
        return (
            await smoke_test(env, service)
            or await fix_verified(env, lease, service)
            or await check_error_ratio(env, lease, service)
        )

    problems = [problem for problem in await asyncio.gather(*map(fit, lease.services)) if problem]
    return report.deciding(Decision.REVERT, problems[0]) if problems else report


async def revert_all(env: Environment, report: Report) -> FlowResult:
    """Users first: everybody is back on stable. Then the page, then the words."""
    lease = report.lease
    await revert(env, lease, lease.coordinator)
    await asyncio.gather(*(revert(env, lease, service) for service in lease.services[1:]))
    if lease.kind is Kind.ROLLBACK:
        return await rolled_back(env, report)
    if report.verdicts and report.verdicts[0].action is Action.ROLLBACK:
        report = await blamed(env, report)
    lease, end, words = report.lease, ReleaseOutcome.REVERTED, [report.lease.reason]
    if lease.asked_back_at_s is not None:
        report, seen, is_well = await look_back(env, report, lease.asked_back_at_s)
        end, words = ReleaseOutcome.REVERTED if is_well else ReleaseOutcome.UNFIT, [f"{lease.reason}.", seen]
    if out_of_band := await out_of_band_changes(env, lease):
        end = ReleaseOutcome.INTERRUPTED
    outcome = FlowResult(end=end, message=" ".join([*words, *out_of_band]), release_id=lease.release_id)
    report = await closing(report, outcome)
    await (notify_given_way if lease.given_way_to else notify_reverted)(env, report)
    await let_go(env, lease)
    return outcome


async def out_of_band_changes(env: Environment, lease: Lease) -> list[str]:
    """A sentence for each service whose users somebody else moved after they were taken back. Raises: Fenced."""
    looks = (check_settled(env, lease, service) for service in lease.services)
    found = [one for one in await asyncio.gather(*looks, return_exceptions=True) if one is not None]
    if unforeseen := [one for one in found if not isinstance(one, OutOfBandChange)]:
        raise unforeseen[0]
    return [str(out_of_band) for out_of_band in found]


async def blamed(env: Environment, report: Report) -> Report:
    """Whose fault it was is looked at once more before anybody is woken: a cause that stable shares is said to be
    one."""
    verdicts = await second_look(env, report.lease, report.verdicts)
    worst = verdicts[0]
    if worst == report.verdicts[0]:
        return report
    return report.judged(verdicts).deciding(Decision.REVERT, f"{worst.service}: {worst.explanation}")


async def rolled_back(env: Environment, report: Report) -> FlowResult:
    """Users are back: readiness and login are looked at, what was alarmed is over, and everybody is told."""
    lease = report.lease
    report, message, is_well = await look_back(env, report, lease.requested_at_s)
    end = ReleaseOutcome.ROLLED_BACK if is_well else ReleaseOutcome.UNFIT
    if out_of_band := await out_of_band_changes(env, lease):
        end, message = ReleaseOutcome.INTERRUPTED, " ".join([message, *out_of_band])
    outcome = FlowResult(end=end, message=message, release_id=lease.release_id)
    report = await closing(report, outcome)
    is_over = end is ReleaseOutcome.ROLLED_BACK
    await asyncio.gather(notify_reverted(env, report), *([end_incidents(env, lease.coordinator)] if is_over else []))
    await let_go(env, lease)
    return outcome


async def look_back(env: Environment, report: Report, asked_at_s: float | None) -> tuple[Report, str, bool]:
    """How long it took since a person asked, and whether readiness and login pass there: a sentence, and whether all is
    well."""
    lease, took_s = report.lease, seconds_since(asked_at_s)
    served = f"users are on {stable_names(lease)} again"
    served += f", {took_s:.1f} s after it was asked for" if took_s is not None else ""
    report = await note(report, served)
    looks = (smoke_test(env, service, only=AFTER_ROLLBACK) for service in lease.services)
    problems = [problem for problem in await asyncio.gather(*looks) if problem]
    seen = f"{served}, and that is not well either: {'; '.join(problems)}" if problems else f"{served}."
    return report, seen[0].upper() + seen[1:], not problems


async def complete(env: Environment, report: Report) -> FlowResult:
    """Everybody is told, the hour of watching begins, and the release is written down as good.

    The claim goes last: whoever finds one finishes the rest. Raises: Interrupted (somebody moved users after their
    service was promoted: nobody is told that all have it), Fenced.
    """
    lease = report.lease
    await asyncio.gather(*(check_settled(env, lease, service) for service in lease.services))
    message = f"{lease.version} serves all users of {', '.join(lease.services)} in {env.name}."
    outcome = FlowResult(end=ReleaseOutcome.PROMOTED, message=message, release_id=lease.release_id)
    await asyncio.gather(track_release(env, lease), notify_complete(env, report))
    await start_watch(env, lease)
    await closing(report, outcome)
    await let_go(env, lease)
    return outcome


async def step_back(env: Environment, report: Report, out_of_band: OutOfBandChange) -> FlowResult:
    """Somebody else changed a service: it stays as they left it, those still ours go back to stable, both sides are
    told."""
    lease = report.lease.decided(Decision.REVERT, str(out_of_band))
    ours = [service for service in lease.services if service != out_of_band.service]
    reverts = await asyncio.gather(*(revert(env, lease, service) for service in ours), return_exceptions=True)
    failures = [failure for failure in reverts if isinstance(failure, BaseException)]
    unforeseen = [failure for failure in failures if not isinstance(failure, OutOfBandChange)]
    if unforeseen:
        raise unforeseen[0]
    message = " ".join([str(out_of_band), *map(str, failures), "The other services are back on stable."])
    outcome = FlowResult(end=ReleaseOutcome.INTERRUPTED, message=message, release_id=lease.release_id)
    report = await closing(report.model_copy(update={"lease": lease}), outcome)
    await notify_interrupted(env, report)
    await let_go(env, lease)
    return outcome


async def let_go(env: Environment, lease: Lease) -> None:
    """Nothing of the claim is left: the members first, the lead last, so that a lead without a claim means it is
    over."""
    await asyncio.gather(*(release_lease(env, lease, service) for service in lease.services[1:]))
    await release_lease(env, lease, lease.coordinator)
