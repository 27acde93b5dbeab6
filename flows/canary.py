"""The canary phase (playbook 3, step 2): a share of the users, watched for as long as it takes to know."""

import asyncio
from collections.abc import Sequence
from functools import partial

from blocks.environment import Environment
from playbook.analysis.low_traffic import due, promoted, undecided
from playbook.analysis.policy import LowTraffic
from playbook.analysis.verdict import Action, Reason, Verdict
from playbook.lease.change import instances_to_gain
from playbook.lease.lease import Decision, Lease
from playbook.messages import chat
from playbook.messages.hold import question
from playbook.messages.plan import canary_share
from playbook.messages.release_page import verdict_line
from playbook.messages.report import Report
from playbook.messages.words import measured
from playbook.release.gate import JUDGE, Choice
from tasks.announce import notify_asking
from tasks.each_service import finish_all
from tasks.gate import ask_person
from tasks.lease import save_lease
from tasks.monitor import clock, monitor, probe, until_bad
from tasks.notify import notify
from tasks.report import note, page_url
from tasks.traffic import scale, shift_to_canary
from tasks.visible_step import visible_step

SCRAPES_TO_SEE = 2
"""After the last request of ours, so that the next look counts them all."""


async def bake(env: Environment, report: Report) -> Report:
    """Show the canary to its share of users and look, until it is known whether every user or none gets it."""
    if report.lease.bake_start_s is None:
        await shift_all(env, report.lease)
        lease = await save_lease(env, report.lease.baking_from(await clock(env)))
        report = await note(report.at(lease), f"the canary serves {canary_share(lease)} of the users")
    elif report.lease.gate_deadline_s is not None and await has_baked(env, report.lease):
        report = await gate_again(env, report)
    while report.lease.decision is Decision.BAKE:
        report = await act_on(env, await judge_bake(env, report))
    return report


async def has_baked(env: Environment, lease: Lease) -> bool:
    """Whether the bake is over, with every extension that it was given."""
    return await clock(env) >= (lease.bake_start_s or 0.0) + lease.policy(env.policy).bake_s


async def judge_bake(env: Environment, report: Report) -> Report:
    """The bake has been watched until the judge has decided, and what it said stands on the page."""
    watched = partial(monitor, env, report.lease, report.lease.policy(env.policy), report=report)
    verdicts = await visible_step(f"monitor {report.lease.version} in {env.name}", watched, bad_canary)
    return await note(report.judged(verdicts), verdict_line(verdicts[0], report.lease.kind))


def bad_canary(verdicts: Sequence[Verdict]) -> str:
    """Why the bake is red: the worst verdict, where it takes the release back."""
    worst = verdicts[0]
    return f"{worst.service}: {worst.explanation}" if worst.action is Action.ROLLBACK else ""


async def act_on(env: Environment, report: Report) -> Report:
    """What the worst verdict asks for is decided, or the bake goes on."""
    worst = report.verdicts[0]
    match worst.action:
        case Action.PROMOTE if env.gates.approval == "promotion":
            now_s = await clock(env)
            gated = report.lease.gated(now_s, env.gates.approval_deadline_s)
            return await gate(env, report.at(await save_lease(env, gated)))
        case Action.PROMOTE:
            return report.deciding(Decision.PROMOTE, worst.explanation)
        case Action.SCALE:
            return await scale_up(env, report, worst)
        case Action.INCONCLUSIVE:
            return await hold(env, report)
        case _:
            return report.deciding(Decision.REVERT, f"{worst.service}: {worst.explanation}")


async def shift_all(env: Environment, lease: Lease) -> None:
    """Every service gives the canary its share: the coordinator, which carries the decision, before the others."""

    async def shifted() -> None:
        await shift_to_canary(env, lease, lease.coordinator)
        await finish_all(shift_to_canary(env, lease, service) for service in lease.services[1:])

    await visible_step(f"canary {lease.canary_percent} % in {env.name}", shifted)


async def scale_up(env: Environment, report: Report, verdict: Verdict) -> Report:
    """More instances, then look again (playbook 8: p95 above 5 s); the next verdict on latency is a rollback.

    Where the service's own scaling leaves no room for more, the release is taken back.

    A bake that would end before the new instances were looked at becomes longer: no user is promoted unseen.
    """
    scaling = report.lease.rollout(verdict.service).scaling
    if not instances_to_gain(scaling, env.policy.scale_max_instances):
        cannot = f"{verdict.service} keeps {scaling}, set by its owner, so more instances cannot be given"
        return report.deciding(Decision.REVERT, f"{verdict.service}: {verdict.explanation} {cannot}.")
    now_s, policy = await clock(env), report.lease.policy(env.policy)
    scaled = report.lease.scaled(verdict.service, now_s)
    seen_s = now_s + policy.warm_up_s + policy.literal_window_s
    if seen_s > (scaled.bake_start_s or now_s) + policy.bake_s:
        scaled = scaled.extended_until(seen_s, env.policy)
    lease = await save_lease(env, scaled)
    snapshot = await scale(env, lease, verdict.service)
    report = await note(report.at(lease), f"{verdict.service} has more instances")
    await notify(env, chat.scaled(report, snapshot.scaling.min_instances))
    return report


async def hold(env: Environment, report: Report) -> Report:
    """The judge cannot decide: where requests are too few, each service's steps for that are taken in order; where
    stable fails too and the policy holds for that, it is waited for; then a person is asked."""
    report = at_step(env, report)
    if report.verdicts[0].action is not Action.INCONCLUSIVE:
        return await promote_on_little(report)
    now_s = await clock(env)
    report = report.at(await save_lease(env, report.lease.gated(now_s, env.policy.gate_deadline_s)))
    left_s = (report.lease.gate_deadline_s or now_s) - now_s
    if left_s > 0 and (probed := due(report.verdicts, env.policy, LowTraffic.PROBE)):
        report = at_step(env, await judge_after_probes(env, report, probed, left_s / 2), LowTraffic.PROBE)
        if report.verdicts[0].action is not Action.INCONCLUSIVE:
            return await act_on(env, report)
    shared = [verdict for verdict in undecided(report.verdicts) if verdict.reason is Reason.SHARED_CAUSE]
    waiting = [*due(report.verdicts, env.policy, LowTraffic.HOLD), *shared]
    if left_s <= 0:
        report = at_step(env, report, LowTraffic.PROBE, LowTraffic.HOLD)
        is_over = report.verdicts[0].action is not Action.INCONCLUSIVE
        return await promote_on_little(report) if is_over else await gate(env, report)
    if len(waiting) < len(undecided(report.verdicts)):
        return await gate(env, report)
    until_s, lacking = report.lease.gate_deadline_s or now_s, [verdict.service for verdict in waiting]
    await notify(env, chat.holding(report, lacking))
    lease = await save_lease(env, report.lease.extended_until(until_s, env.policy))
    return await note(report.at(lease), f"held for {'stable' if shared else 'requests to'} {', '.join(lacking)}")


def at_step(env: Environment, report: Report, *taken: LowTraffic) -> Report:
    """The verdicts after the step `promote`, for those whose turn it is once the steps ``taken`` were."""
    return report.judged(promoted(report.verdicts, env.policy, taken))


async def promote_on_little(report: Report) -> Report:
    """No verdict is open any more: what the policy promotes on few requests says so in the lease and on the page."""
    few = [one for one in report.verdicts if one.reason is Reason.SMALL_FAULT_RULED_OUT]
    said = " ".join(f"{one.service}: {one.explanation}" for one in few)
    return await note(report.deciding(Decision.PROMOTE, said), f"promoted on few requests: {said}")


async def judge_after_probes(env: Environment, report: Report, probed: list[Verdict], seconds: float) -> Report:
    """The canaries got the requests that they lack, over ``seconds``, and the judge has looked once more."""
    lacking = {verdict.service: verdict.missing for verdict in probed if verdict.missing}
    for said in await asyncio.gather(
        *(probe(env, name, report.lease, missing, seconds) for name, missing in lacking.items())
    ):
        report = await note(report, said)
    return await judge_now(env, report, after_s=SCRAPES_TO_SEE * env.policy.scrape_s)


async def gate(env: Environment, report: Report) -> Report:
    """A person decides in the UI; who and why stand in the lease. Silence means revert.

    The judge looks on meanwhile: evidence against the canary ends the question, and it cannot be promoted over.
    """
    lease, now_s = report.lease, await clock(env)
    if now_s >= (lease.gate_deadline_s or now_s + 1):  # it was held for requests, or its process was away
        return report.deciding(Decision.REVERT, f"No decision by the deadline. {measured(report.verdicts[0])}")
    report = await note(report, "a person is asked")
    await notify_asking(env, report)
    answer = await ask_person(
        question(report, page_url(env, report.key)),
        lease.gate_deadline_s or now_s,
        now_s,
        lease.shares[-1],
        until_bad(env, lease, lease.policy(env.policy)),
    )
    report = await note(report, str(answer))
    if answer.choice is Choice.PROMOTE or answer.approver == JUDGE:
        report = await judge_now(env, report)
        if report.verdicts[0].action in (Action.ROLLBACK, Action.SCALE):
            return await act_on(env, report)
    now_s = await clock(env)
    match answer.choice:
        case Choice.PROMOTE:
            return report.deciding(Decision.PROMOTE, str(answer))
        case Choice.EXTEND:
            longer = lease.reopened().extended_until(now_s + 60 * answer.minutes, env.policy)
            return report.at(await save_lease(env, longer))
        case Choice.RAISE:
            raised = lease.reopened().with_canary_at(answer.percent)
            await shift_all(env, raised)
            return report.at(await save_lease(env, raised.extended_until(now_s + env.policy.bake_s, env.policy)))
        case _:
            return report.deciding(Decision.REVERT, f"{answer}. {measured(report.verdicts[0])}")


async def gate_again(env: Environment, report: Report) -> Report:
    """The process died while a person was asked: they are asked again, with the deadline they had.

    What the judge would promote meanwhile is still theirs to decide.
    """
    report = await judge_now(env, report)
    if report.verdicts[0].action in (Action.ROLLBACK, Action.SCALE):
        return await act_on(env, report)
    return await gate(env, report)


async def judge_now(env: Environment, report: Report, after_s: float = 0.0) -> Report:
    """The judge has looked once more, ``after_s`` seconds from now, as after an extension of so much."""
    longer = report.lease.extended_until(await clock(env) + after_s, env.policy)
    return await judge_bake(env, report.at(await save_lease(env, longer)))
