"""Recovery: resumes or reverts every release of an environment whose process died."""

import asyncio
from functools import partial

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.pausing import hold_paused, resume
from flows.steps import carry_out, let_go
from playbook.errors import BadRequest, Fenced, Refused
from playbook.lease.lease import Decision, Kind, Lease, MigrationLease
from playbook.lease.record import Aside, Unreadable
from playbook.lease.recovery import Owner, Recovery, Step
from playbook.messages.set_aside import stood_down
from playbook.release.outcome import TAKEN_BACK, FlowResult, ReleaseOutcome
from playbook.release.request import StandDown
from playbook.release.version import version_of
from tasks.announce import notify_late_promotion, notify_set_aside, notify_taken_up
from tasks.asked import asked_flow
from tasks.each_service import finish_all
from tasks.ending import ending
from tasks.find_leases import find_leases, free_orphans, judge_recovery
from tasks.halt import notify_stopped
from tasks.heartbeat import mark_lost, owner_of, with_heartbeat
from tasks.lease import as_it_stands, hand_on, take_over
from tasks.notify import notify
from tasks.pause import pause_of, say_what_became
from tasks.quiet import NOTHING_FOUND, forget_quiet_run
from tasks.report import note, open_report
from tasks.run_name import TOOK_BACK, name_run
from tasks.schedule_names import name_scheduled_runs
from tasks.start import start


@asked_flow(
    name="recovery", flow_run_name="recover {environment}", on_completion=[name_scheduled_runs, forget_quiet_run]
)
async def recovery(environment: str = "production", stand_down: StandDown | None = None) -> State[None]:
    """Resume or revert every release of an environment that has lost its process; leave those that live.

    Safe at any time and any number of times: a release that lives is left alone, and of two recoveries one is fenced.

    Args:
        environment: The environment to look at, by the name of its block.
        stand_down: Only for a person: the release that must not be recovered any more. Its users stay where they are.
    """
    work = _recovery(environment) if stand_down is None else _stand_down(environment, stand_down)
    return await ending(work, is_repeatable=True)


async def _recovery(environment: str) -> FlowResult:
    env = await Environment.open(environment)
    if (resumed := await resume(env)) is not None:
        return resumed
    found = await find_leases(env)
    stuck, _ = await asyncio.gather(free_orphans(env, found.orphans), notify_set_aside(env, found.aside))
    await notify_set_aside(env, stuck)
    outcomes = await finish_all(recover_one(env, lease) for lease in found.leases)
    done = [outcome for outcome in outcomes if outcome is not None]
    if aside := (*found.aside, *stuck):
        message = " ".join([*map(str, aside), *(outcome.message for outcome in done)])
        return FlowResult(end=ReleaseOutcome.UNFIT, message=message)
    if not done:
        return FlowResult(end=ReleaseOutcome.PASSED, message=f"{NOTHING_FOUND} in {environment}.")
    back = [
        lease.release_id
        for lease, one in zip(found.leases, outcomes, strict=True)
        if lease.kind in (Kind.RELEASE, Kind.HOTFIX) and one is not None and one.end in TAKEN_BACK
    ]
    tags = (*map(version_of, back), TOOK_BACK) if back else ()
    await name_run(f"recover {', '.join(lease.release_id for lease in found.leases)} in {env.name}", *tags)
    worst = next((outcome for outcome in done if not outcome.end.is_success), done[0])
    words = " ".join(outcome.message for outcome in done)
    return worst.model_copy(update={"message": words, "took_back": back[-1] if back else ""})


async def _stand_down(environment: str, request: StandDown) -> FlowResult:
    """The lease of one release is gone, and no user was moved. Raises: BadRequest, Refused (there is no such lease)."""
    if problems := request.problems():
        raise BadRequest(problems)
    env = await Environment.open(environment)
    held = {lease.release_id: lease for lease in (await find_leases(env)).leases}
    if request.release not in held:
        raise Refused(f"No release {request.release} holds a service; those that do: {', '.join(held) or 'none'}.")
    found = held[request.release]
    lease = await take_over(env, found.decided(Decision.REVERT, f"stood down by {request.by}: {request.reason}"), found)
    async with with_heartbeat(env, lease):
        await notify(env, stood_down(lease, env.name, request))
        await let_go(env, lease)
    message = f"{lease.release_id} was stood down by {request.by}. Users of its services stay where they are."
    return FlowResult(end=ReleaseOutcome.INTERRUPTED, message=message, release_id=lease.release_id)


async def recover_one(env: Environment, found: Lease) -> FlowResult | None:
    """One release, from wherever its process left it to its end; None where it is left alone."""
    try:
        taken = await as_it_stands(env, found, partial(take_up, env))
    except Fenced:
        return None
    if taken is None or isinstance(taken, FlowResult):
        return taken
    lease, lost, decided = taken
    env = env.whole(lease)
    async with with_heartbeat(env, lease):
        if lost is not None:
            await mark_lost(lost, lease)
        report = await note(await open_report(env, lease), f"{decided.step}: {decided.reason}")
        if lease.kind is Kind.RELEASE and lease.decision is Decision.DEPLOY:
            await notify_taken_up(env, lease)
        outcome = await (hold_paused if decided.step is Step.HOLD else carry_out)(env, report)
    if outcome.end is not ReleaseOutcome.PASSED:
        await say_what_became(lease if lease.pause else found, outcome)
    return outcome


async def take_up(env: Environment, found: Lease) -> tuple[Lease, Lease | None, Recovery] | FlowResult | None:
    """What is decided of the release ``found``, and its lease held by this run, with the one whose run fell silent.

    A FlowResult where it goes on elsewhere, or stops; None where it is left alone. Raises: Fenced, Conflict, as
    `take_over`.
    """
    owner = await owner_of(env, found)
    decided = await judge_recovery(env, found, owner)
    if decided.step is Step.LEAVE:
        return None
    if decided.step is Step.RESTART and isinstance(found, MigrationLease):
        return await go_on_elsewhere(env, found, decided.reason)
    if decided.step is Step.HALT and isinstance(found, MigrationLease):
        return await stop(env, found, decided.reason)
    if decided.step is Step.SET_ASIDE:
        one = Unreadable(service=found.coordinator, problem=decided.reason, why=Aside.UNSIGNED)
        await notify_set_aside(env, (one,))
        return FlowResult(end=ReleaseOutcome.UNFIT, message=str(one), release_id=found.release_id)
    if decided.step is Step.ASK:
        await notify_late_promotion(env, found, decided.reason)
        message = f"{found.release_id} waits for a person: {decided.reason}."
        return FlowResult(end=ReleaseOutcome.UNFIT, message=message, release_id=found.release_id)
    wanted = found.decided(Decision.REVERT, decided.reason) if decided.step is Step.REVERT else found
    if decided.step is Step.HOLD:
        wanted = found.paused(found.pause or await pause_of(env, found))
    lease = await take_over(env, wanted, found)
    return lease, found if owner is Owner.SILENT else None, decided


async def go_on_elsewhere(env: Environment, found: MigrationLease, reason: str) -> FlowResult:
    """A migration rollback goes on in a run of its own, since it may wait for people.

    It says what it continues: should the rollback be over when it begins, it must begin no other.
    Raises: Fenced, Conflict, as `hand_on`.
    """
    lease = await hand_on(env, found.restarted(), found)
    deployment = f"migration-rollback/{env.name}"
    request = {
        "migration": lease.migration,
        "reason": f"{found.release_id} goes on: {reason}"[:500],
        "requested_by": "recovery",
        "continues": found.release_id,
    }
    parameters = {"environment": env.name, "request": request}
    await start(deployment, parameters, f"{deployment}/{lease.release_id}/{lease.epoch}")
    message = f"{found.release_id} goes on in a run of its own: {reason}."
    return FlowResult(end=ReleaseOutcome.PASSED, message=message, release_id=found.release_id)


async def stop(env: Environment, found: MigrationLease, why: str) -> FlowResult:
    """A migration rollback does not go on by itself: the page first, then the lease says so. Raises: Fenced, Conflict,
    as `take_over`."""
    outcome = await notify_stopped(env, found, why)
    await take_over(env, found.model_copy(update={"halted": why}), found)
    return outcome
