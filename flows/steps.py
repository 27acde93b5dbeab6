"""What every release shares, from wherever its claim stands to its end: so a release that is resumed runs the same
lines."""

import asyncio

from blocks.environment import Environment
from flows.canary import bake
from flows.direct import first_minutes, fix_verified
from playbook.claim import Claim, Decision, Kind
from playbook.errors import Conflict, Interrupted, Refused, Stuck
from playbook.messages import stable_names
from playbook.outcome import End, Outcome
from playbook.release import SmokeTest
from playbook.report import Report
from playbook.verdict import Action
from tasks.announce import (
    end_incidents,
    say_complete,
    say_given_way,
    say_interrupted,
    say_reverted,
    sentry_release,
    start_watch,
)
from tasks.beat import beating
from tasks.claim import release_claim
from tasks.monitor import second_look
from tasks.report import closing, note
from tasks.start import seconds_since
from tasks.traffic import check_settled, deploy_canary, promote, revert
from tasks.validation import check_error_ratio, smoke_test, wait_for_scrapes

AFTER_ROLLBACK = (SmokeTest.HEALTH, SmokeTest.AUTH, SmokeTest.PAGE)
"""Playbook 4, scenario 2, step 3: readiness and login. The rest takes longer than the rollback itself."""


async def carry_out(env: Environment, report: Report) -> Outcome:
    """Go on from what the claim has decided.

    Each step decides the next; the lead carries the decision before anybody moves.
    """
    async with beating(env, report.claim):
        return await _carry_out(env, report)


async def _carry_out(env: Environment, report: Report) -> Outcome:
    try:
        if report.claim.decision is Decision.DEPLOY:
            report = await introduce(env, report)
        if report.claim.decision is Decision.BAKE:
            report = await bake(env, report)
        if report.claim.decision is Decision.PROMOTE:
            report = await promote_all(env, report)
        if report.claim.decision is Decision.PROMOTE and report.claim.kind is Kind.HOTFIX:
            report = await first_minutes(env, report)
        if report.claim.decision is Decision.REVERT:
            return await revert_all(env, report)
        return await complete(env, report)
    except Interrupted as hand:
        return await step_back(env, report, hand)
    except (Refused, Conflict) as refusal:
        raise Stuck(f"{report.claim.release_id} cannot go on: {refusal} Its services stay as they are.") from refusal


async def introduce(env: Environment, report: Report) -> Report:
    """Every new revision runs at 0 %, passes its smoke tests and is scraped, before any user sees it."""
    claim = report.claim
    has_canary = env.policy.bake_s > 0 and claim.kind is not Kind.HOTFIX

    async def ready(service: str) -> str | None:
        return (
            await deploy_canary(env, claim, service)
            or await smoke_test(env, service, on_canary=True)
            or await fix_verified(env, claim, service, on_canary=True)
            or (await wait_for_scrapes(env, claim, service) if has_canary else None)
        )

    problems = [problem for problem in await asyncio.gather(*map(ready, claim.services)) if problem]
    if problems:
        return await note(report.deciding(Decision.REVERT, problems[0]), "a new revision is not fit for users")
    if has_canary:
        return report.deciding(Decision.BAKE)
    skipped = (
        f"{claim.hotfix.approver} allows to skip the canary" if claim.hotfix else f"{env.name} has no canary phase"
    )
    return report.deciding(Decision.PROMOTE, skipped)


async def promote_all(env: Environment, report: Report) -> Report:
    """All users are on the new revisions, one service after another, and the smoke tests pass there."""
    claim = report.claim
    for service in claim.services:
        await promote(env, claim, service)
    report = await note(report, "all users are on the new revisions")

    async def fit(service: str) -> str | None:
        return (
            await smoke_test(env, service)
            or await fix_verified(env, claim, service)
            or await check_error_ratio(env, claim, service)
        )

    problems = [problem for problem in await asyncio.gather(*map(fit, claim.services)) if problem]
    return report.deciding(Decision.REVERT, problems[0]) if problems else report


async def revert_all(env: Environment, report: Report) -> Outcome:
    """Users first: everybody is back on stable. Then the page, then the words."""
    claim = report.claim
    await revert(env, claim, claim.lead)
    await asyncio.gather(*(revert(env, claim, service) for service in claim.services[1:]))
    if claim.kind is Kind.ROLLBACK:
        return await rolled_back(env, report)
    if report.verdicts and report.verdicts[0].action is Action.ROLLBACK:
        report = await blamed(env, report)
    claim = report.claim
    hands = await hands_since(env, claim)
    end = End.INTERRUPTED if hands else End.REVERTED
    outcome = Outcome(end=end, message=" ".join([claim.reason, *hands]), release_id=claim.release_id)
    report = await closing(report, outcome)
    await (say_given_way if claim.given_way_to else say_reverted)(env, report)
    await let_go(env, claim)
    return outcome


async def hands_since(env: Environment, claim: Claim) -> list[str]:
    """A sentence for each service whose users somebody else moved after they were taken back. Raises: Fenced."""
    looks = (check_settled(env, claim, service) for service in claim.services)
    found = [one for one in await asyncio.gather(*looks, return_exceptions=True) if one is not None]
    if unforeseen := [one for one in found if not isinstance(one, Interrupted)]:
        raise unforeseen[0]
    return [str(hand) for hand in found]


async def blamed(env: Environment, report: Report) -> Report:
    """Whose fault it was is looked at once more before anybody is woken: a cause that stable shares is said to be
    one."""
    verdicts = await second_look(env, report.claim, report.verdicts)
    worst = verdicts[0]
    if worst == report.verdicts[0]:
        return report
    return report.judged(verdicts).deciding(Decision.REVERT, f"{worst.service}: {worst.explanation}")


async def rolled_back(env: Environment, report: Report) -> Outcome:
    """Users are back: readiness and login are looked at, what was alarmed is over, and everybody is told."""
    claim = report.claim
    took_s = seconds_since(claim.requested_at_s)
    served = f"users are on {stable_names(claim)} again"
    served += f", {took_s:.1f} s after it was asked for" if took_s is not None else ""
    report = await note(report, served)
    looks = (smoke_test(env, service, only=AFTER_ROLLBACK) for service in claim.services)
    problems = [problem for problem in await asyncio.gather(*looks) if problem]
    end = End.UNFIT if problems else End.ROLLED_BACK
    message = f"{served}, and that is not well either: {'; '.join(problems)}" if problems else f"{served}."
    if hands := await hands_since(env, claim):
        end, message = End.INTERRUPTED, " ".join([message, *hands])
    outcome = Outcome(end=end, message=message[0].upper() + message[1:], release_id=claim.release_id)
    report = await closing(report, outcome)
    is_over = end is End.ROLLED_BACK
    await asyncio.gather(say_reverted(env, report), *([end_incidents(env, claim.lead)] if is_over else []))
    await let_go(env, claim)
    return outcome


async def complete(env: Environment, report: Report) -> Outcome:
    """Everybody is told, the hour of watching begins, and the release is written down as good.

    The claim goes last: whoever finds one finishes the rest. Raises: Interrupted (somebody moved users after their
    service was promoted: nobody is told that all have it), Fenced.
    """
    claim = report.claim
    await asyncio.gather(*(check_settled(env, claim, service) for service in claim.services))
    message = f"{claim.version} serves all users of {', '.join(claim.services)} in {env.name}."
    outcome = Outcome(end=End.PROMOTED, message=message, release_id=claim.release_id)
    await asyncio.gather(sentry_release(env, claim), say_complete(env, report))
    await start_watch(env, claim)
    await closing(report, outcome)
    await let_go(env, claim)
    return outcome


async def step_back(env: Environment, report: Report, hand: Interrupted) -> Outcome:
    """Somebody else changed a service: it stays as they left it, those still ours go back to stable, both sides are
    told."""
    claim = report.claim.decided(Decision.REVERT, str(hand))
    ours = [service for service in claim.services if service != hand.service]
    reverts = await asyncio.gather(*(revert(env, claim, service) for service in ours), return_exceptions=True)
    failures = [failure for failure in reverts if isinstance(failure, BaseException)]
    unforeseen = [failure for failure in failures if not isinstance(failure, Interrupted)]
    if unforeseen:
        raise unforeseen[0]
    message = " ".join([str(hand), *map(str, failures), "The other services are back on stable."])
    outcome = Outcome(end=End.INTERRUPTED, message=message, release_id=claim.release_id)
    report = await closing(report.model_copy(update={"claim": claim}), outcome)
    await say_interrupted(env, report)
    await let_go(env, claim)
    return outcome


async def let_go(env: Environment, claim: Claim) -> None:
    """Nothing of the claim is left: the members first, the lead last, so that a lead without a claim means it is
    over."""
    await asyncio.gather(*(release_claim(env, claim, service) for service in claim.services[1:]))
    await release_claim(env, claim, claim.lead)
