"""What every release shares, from wherever its lease stands to its end: so a release that is resumed runs the same
lines."""

import asyncio
from collections.abc import Sequence
from functools import partial

from blocks.environment import Environment
from flows.canary import bake
from flows.direct import first_minutes, fix_verified
from playbook.analysis.verdict import Action
from playbook.errors import Conflict, OutOfBandChange, Refused, Transient, Unfinished
from playbook.lease.lease import Decision, HotfixLease, Kind, Lease
from playbook.messages import chat
from playbook.messages.facts import Deployed
from playbook.messages.report import Report
from playbook.messages.times import minutes
from playbook.messages.words import stable_names
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.version import SmokeTest
from tasks.announce import (
    end_incidents,
    notify_complete,
    notify_interrupted,
    notify_not_reverted,
    notify_reverted,
    start_watch,
    track_taken_back,
)
from tasks.deployments import record_end
from tasks.each_service import finish_all, settle
from tasks.lease import release_lease
from tasks.monitor import second_look
from tasks.notify import notify
from tasks.report import closing, note
from tasks.start import seconds_since
from tasks.telemetry import check_metrics, wait_for_scrapes
from tasks.traffic import check_settled, deploy_canary, promote, revert
from tasks.validation import check_error_ratio, smoke_test
from tasks.visible_step import problem, visible_step

AFTER_ROLLBACK = (SmokeTest.HEALTH, SmokeTest.AUTH, SmokeTest.PAGE)
"""Playbook 4, scenario 2, step 3: readiness and login. The rest takes longer than the rollback itself."""


async def carry_out(env: Environment, report: Report) -> FlowResult:
    """Go on from what the lease has decided, within `with_heartbeat`, to its end.

    A refusal on the way forward takes the release back, with the vendor's own words. A change that another person made
    is left as it is, and the other services go back. Raises: Unfinished (recovery tries again), Fenced.
    """
    try:
        report = await go_forward(env, report)
        if report.lease.decision is Decision.REVERT:
            return await revert_all(env, report)
        return await complete(env, report)
    except OutOfBandChange as out_of_band:
        return await step_back(env, report, out_of_band)


async def go_forward(env: Environment, report: Report) -> Report:
    """As far forward as the release comes: PROMOTE with every user on the new revisions, or REVERT.

    Each step decides the next; the coordinator carries the decision before any user moves.
    """
    try:
        if report.lease.decision is Decision.DEPLOY:
            report = await deploy_all(env, report)
        if report.lease.decision is Decision.BAKE:
            report = await bake(env, report)
        if report.lease.decision is Decision.PROMOTE:
            report = await promote_all(env, report)
        if report.lease.decision is Decision.PROMOTE and report.lease.kind is Kind.HOTFIX:
            report = await first_minutes(env, report)
    except (Refused, Conflict, Transient) as refusal:  # Transient: for all its tries, as a quota that stays used up
        return await note(report.refused(str(refusal)), "a step could not be carried out: the release is taken back")
    return report


async def deploy_all(env: Environment, report: Report) -> Report:
    """Every new revision runs at 0 %, passes its smoke tests and has metrics that make sense, before users see it."""
    lease = report.lease
    has_canary = env.policy.bake_s > 0 and lease.kind is not Kind.HOTFIX

    async def ready(service: str) -> str | None:
        return (
            await deploy_canary(env, lease, service)
            or await smoke_test(env, service, lease)
            or await fix_verified(env, lease, service, at_tag=True)
            or (await wait_for_scrapes(env, lease, service) if has_canary else None)
            or (await check_metrics(env, lease, service) if has_canary else None)
        )

    steps = (visible_step(f"deploy canary {one} in {env.name}", partial(ready, one), problem) for one in lease.services)
    problems = [found for found in await finish_all(steps) if found]
    if problems:
        return await note(report.deciding(Decision.REVERT, problems[0]), "a new revision is not fit for users")
    if has_canary:
        return report.deciding(Decision.BAKE)
    skipped = (
        f"{lease.request.approver} allows to skip the canary"
        if isinstance(lease, HotfixLease)
        else f"{env.name} has no canary phase"
    )
    return report.deciding(Decision.PROMOTE, skipped)


async def promote_all(env: Environment, report: Report) -> Report:
    """All users are on the new revisions, one service after another, and the smoke tests pass there."""
    lease = report.lease
    for service in lease.services:
        await visible_step(f"promote {service} in {env.name}", partial(promote, env, lease, service))
    report = await note(report, "all users are on the new revisions")

    async def fit(service: str) -> str | None:
        return (
            await smoke_test(env, service)
            or await fix_verified(env, lease, service)
            or await check_error_ratio(env, lease, service)
        )

    async def all_fit() -> list[str]:
        return [found for found in await finish_all(map(fit, lease.services)) if found]

    problems = await visible_step(f"smoke tests in {env.name}", all_fit, "; ".join)
    return report.deciding(Decision.REVERT, problems[0]) if problems else report


async def revert_all(env: Environment, report: Report) -> FlowResult:
    """Users first: all of them are back. Then the page, then the messages."""
    lease = report.lease
    dropped = await revert_each(env, report, lease.services)
    if lease.kind is Kind.ROLLBACK:
        return await end_rollback(env, report, dropped)
    if report.verdicts and report.verdicts[0].action is Action.ROLLBACK:
        report = await blamed(env, report)
    lease, end = report.lease, ReleaseOutcome.REVERTED
    words = [f"{lease.reason.rstrip('.')}." if dropped else lease.reason, *dropped]
    if lease.asked_back_at_s is not None:
        report, seen, is_well = await confirm_back(env, report, lease.asked_back_at_s)
        end, words = ReleaseOutcome.REVERTED if is_well else ReleaseOutcome.UNFIT, [f"{lease.reason}.", seen, *dropped]
    if out_of_band := await out_of_band_changes(env, lease):
        end = ReleaseOutcome.INTERRUPTED
    outcome = FlowResult(end=end, message=" ".join([*words, *out_of_band]), release_id=lease.release_id)
    report = await closing(report, outcome)
    if lease.given_way_to:  # no one is paged for it, and what comes instead has a watch of its own
        await notify(env, chat.given_way(report))
    else:
        await notify_reverted(env, report)
    record_end(env, lease, end)
    await track_taken_back(env, lease)
    if not lease.given_way_to:
        await start_watch(env, lease)
    await let_go(env, lease)
    return outcome


async def revert_each(env: Environment, report: Report, services: Sequence[str]) -> list[str]:
    """Users of each service are back: the coordinator first, which carries the decision, then the others side by side.

    One that cannot be reverted does not keep the others: a person is paged at once with the reason, and recovery tries
    again. Returns what else must be told. Raises: Unfinished, OutOfBandChange, Fenced.
    """
    lease = report.lease
    first = [service for service in services if service == lease.coordinator]
    results = await asyncio.gather(*(revert(env, lease, service) for service in first), return_exceptions=True)
    others = [service for service in services if service != lease.coordinator]
    results += await asyncio.gather(*(revert(env, lease, service) for service in others), return_exceptions=True)
    failures = [one for one in results if isinstance(one, BaseException)]
    if unforeseen := [one for one in failures if not isinstance(one, Refused | Conflict | Transient)]:
        raise unforeseen[0]
    if failures:
        why = " ".join(map(str, failures))
        await notify_not_reverted(env, report, why)
        raise Unfinished(f"{lease.release_id}: users are not back everywhere: {why} Recovery tries again.")
    return [sentence for one in results if isinstance(one, list) for sentence in one]


async def out_of_band_changes(env: Environment, lease: Lease) -> list[str]:
    """A sentence for each service whose users another person moved after they were taken back. Raises: Fenced."""
    looks = {service: check_settled(env, lease, service) for service in lease.services}
    return list(map(str, (await settle(looks, OutOfBandChange)).failures.values()))


async def blamed(env: Environment, report: Report) -> Report:
    """Whose fault it was is looked at once more before a page is sent: a cause that stable shares is said to be
    one."""
    verdicts = await second_look(env, report.lease, report.verdicts)
    worst = verdicts[0]
    if worst == report.verdicts[0]:
        return report
    return report.judged(verdicts).deciding(Decision.REVERT, f"{worst.service}: {worst.explanation}")


async def end_rollback(env: Environment, report: Report, dropped: list[str]) -> FlowResult:
    """Users are back: readiness and login are looked at, what was alarmed is over, and every user is told."""
    lease = report.lease
    report, message, is_well = await confirm_back(env, report, lease.requested_at_s)
    end = ReleaseOutcome.ROLLED_BACK if is_well else ReleaseOutcome.UNFIT
    if out_of_band := await out_of_band_changes(env, lease):
        end, message = ReleaseOutcome.INTERRUPTED, " ".join([message, *out_of_band])
    message = " ".join([message, *dropped])
    outcome = FlowResult(end=end, message=message, release_id=lease.release_id)
    report = await closing(report, outcome)
    is_over = end is ReleaseOutcome.ROLLED_BACK
    await asyncio.gather(notify_reverted(env, report), *([end_incidents(env, lease)] if is_over else []))
    record_end(env, lease, end)
    await track_taken_back(env, lease)
    await start_watch(env, lease)
    await let_go(env, lease)
    return outcome


async def confirm_back(env: Environment, report: Report, asked_at_s: float | None) -> tuple[Report, str, bool]:
    """How long it took since a person asked, and whether readiness and login pass there: a sentence, and whether all is
    well."""
    lease, took_s, budget_s = report.lease, seconds_since(asked_at_s), env.policy.rollback_budget_s
    served = f"users are on {stable_names(lease)} again"
    served += f", {took_s:.1f} s after it was asked for" if took_s is not None else ""
    served += f", later than the {minutes(budget_s)} allowed" if took_s is not None and took_s > budget_s else ""
    report = await note(report, served)
    looks = (smoke_test(env, service, only=AFTER_ROLLBACK) for service in lease.services)
    problems = [problem for problem in await asyncio.gather(*looks) if problem]
    seen = f"{served}, and that fails too: {'; '.join(problems)}" if problems else f"{served}."
    return report, seen[0].upper() + seen[1:], not problems


async def complete(env: Environment, report: Report) -> FlowResult:
    """People are told, the hour of watching begins, and the release is written down as good.

    The lease goes last: recovery finishes the rest of one that it finds. Raises: OutOfBandChange (another person moved
    users after their service was promoted: it is not announced that all have it), Fenced.
    """
    lease = report.lease
    await asyncio.gather(*(check_settled(env, lease, service) for service in lease.services))
    message = f"{lease.version} serves all users of {', '.join(lease.services)} in {env.name}."
    if isinstance(lease, HotfixLease):
        message += f" Approved by {lease.request.approver} ({lease.request.incident})."
    elif lease.gate_deadline_s is not None:  # a person was asked
        message += f" {lease.reason.rstrip('.')}."
    outcome = FlowResult(end=ReleaseOutcome.PROMOTED, message=message, release_id=lease.release_id)
    record_end(env, lease, ReleaseOutcome.PROMOTED)
    deployed = Deployed(key=lease.release_id, version=lease.version)
    await asyncio.gather(notify(env, deployed), notify_complete(env, report))
    await start_watch(env, lease)
    await closing(report, outcome)
    await let_go(env, lease)
    return outcome


async def step_back(env: Environment, report: Report, out_of_band: OutOfBandChange) -> FlowResult:
    """Another person changed a service: it stays as they left it, those still ours go back to stable, both are
    told."""
    report = report.deciding(Decision.REVERT, str(out_of_band))
    left, told = [out_of_band.service], [str(out_of_band)]
    while True:
        ours = [service for service in report.lease.services if service not in left]
        try:
            told += await revert_each(env, report, ours)
        except OutOfBandChange as another:
            left.append(another.service)
            told.append(str(another))
        else:
            break
    message = " ".join([*told, "The other services are back on stable."])
    outcome = FlowResult(end=ReleaseOutcome.INTERRUPTED, message=message, release_id=report.lease.release_id)
    report = await closing(report, outcome)
    record_end(env, report.lease, outcome.end)
    await notify_interrupted(env, report)
    await let_go(env, report.lease)
    return outcome


async def let_go(env: Environment, lease: Lease) -> None:
    """No service carries the lease: the coordinator is last, so that one without a lease means that it is over.

    Raises: Unfinished (a service still carries it; users stay where they are, and recovery goes on), Fenced.
    """
    try:
        await finish_all(release_lease(env, lease, service) for service in lease.services[1:])
        await release_lease(env, lease, lease.coordinator)
    except (Refused, Conflict) as refusal:
        raise Unfinished(f"{lease.release_id} is still written on its services: {refusal}") from refusal
