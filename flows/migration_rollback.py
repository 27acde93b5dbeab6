"""Taking a database migration back (playbook 4, scenario 3): writes stop, the data goes back, the code follows, writes
start.

Whatever stops it leaves writes off and says how to go on; started again, it goes on from where it was.
"""

import asyncio
from functools import partial

from prefect import get_run_logger
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.restoration import reopen, restore
from playbook.errors import BadRequest, Fenced, Held, Refused, ReleaseError
from playbook.lease.lease import MigrationLease
from playbook.lease.recovery import Owner
from playbook.messages.facts import Audience, Resolution
from playbook.messages.not_started import asked_migration
from playbook.migration import write_freeze
from playbook.migration.messages import ask_down, ask_several, asking_before, closing, done, kept_words
from playbook.migration.plan import MigrationRequest, RollbackPlan, Way
from playbook.migration.progress import gone_on, progress_of, with_progress
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import end_refused, notify_not_started, this_run
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.halt import closed_services, notify_stopped
from tasks.heartbeat import owner_of, with_heartbeat
from tasks.lease import acquire, as_it_stands, save_lease, take_over
from tasks.migration.backfill import count_losses, count_retained, dry_run, forget, still_applied, undo, verify
from tasks.migration.consent import ask_consent
from tasks.migration.restore import find_backup
from tasks.migration.steps import (
    drain,
    end_at,
    find_migration_rollback,
    halt,
    introduce,
    migration_lease,
    migration_ticket,
    plan_migration_rollback,
    prove_closed,
    show,
    start_writes,
    stop_writes,
)
from tasks.notify import notify
from tasks.validation import smoke_test


@asked_flow(
    name="migration-rollback", flow_run_name="roll back {request.subject} in {environment}", audience=Audience.INCIDENTS
)
async def migration_rollback(request: MigrationRequest, environment: str = "production") -> State[None]:
    """Take a database migration back, or go on with one that stopped.

    Args:
        request: Which migration, and why. A rollback that is under way already goes on, whatever is asked here.
        environment: The environment whose database it is, by the name of its block.
    """
    asked = asked_migration(request.migration, request.reason, request.requested_by)
    return await ending(_migration_rollback(request, environment), partial(notify_not_started, environment, asked))


async def _migration_rollback(request: MigrationRequest, environment: str) -> FlowResult:
    env = await Environment.open(environment)
    lease, tried = await take_or_go_on(env, request)
    async with with_heartbeat(env, lease):
        try:
            return await carry_out(env, await save_lease(env, gone_on(lease)), tried)
        except Fenced:
            raise
        except ReleaseError as why:
            return await stop_here(env, lease, str(why))
        except Exception as why:  # noqa: BLE001  # writes may be off: whatever it is, a person must hear of it
            get_run_logger().exception("not foreseen")
            what = str(why).rstrip(".")
            return await stop_here(env, lease, f"{type(why).__name__}: {what}. The run's log says where.")


async def take_or_go_on(env: Environment, request: MigrationRequest) -> tuple[MigrationLease, str]:
    """The lease of this rollback, a new one or the one that a run before this left behind; and what was tried first.

    Raises: Held (a run is at it right now), BadRequest, Refused; nothing was touched then.
    """
    found = await find_migration_rollback(env)
    if found is None:
        if problems := request.problems():
            raise BadRequest(problems)
        plan = await plan_migration_rollback(env, request)
        tried = await try_first(env, plan)
        agreed = await agreed_to_losses(env, request, plan)
        new = await migration_lease(env, request, plan, agreed)
        await acquire(env, new)
        return new, f"; {tried}"
    lease = await as_it_stands(env, found, partial(go_on_with, env, request))
    if lease is None:
        raise Refused(f"{found.release_id} has ended just now. Read how it ended before you start it again.")
    return lease, ""


async def go_on_with(env: Environment, request: MigrationRequest, found: MigrationLease) -> MigrationLease:
    """The lease of the rollback ``found``, held by this run. Raises: as `take_or_go_on`, and as `take_over`."""
    if await owner_of(env, found) is Owner.ALIVE:
        raise Held(f"{found.release_id} is under way in flow run {found.flow_run_id}.", is_same=True)
    if found.halted and (problems := request.problems()):
        # Recovery asks like this. What stopped goes on only once a person has read why.
        raise BadRequest([f"{found.release_id} has stopped: {found.halted} To go on:", *problems])
    return await take_over(env, found, found)


async def try_first(env: Environment, plan: RollbackPlan) -> str:
    """What will be done, tried while users can still write. Raises: Refused (it cannot be done), BadRequest."""
    if plan.way is Way.RESTORE:
        return str(await find_backup(env, plan))
    return "dry run: " + "; ".join([await dry_run(env, name) for name in plan.undo])


async def agreed_to_losses(env: Environment, request: MigrationRequest, plan: RollbackPlan) -> tuple[str, ...]:
    """What people said yes to: each field that a ``down`` loses, counted; and, where it is more than one migration, all
    of them. Empty where one migration is taken back and nothing is lost; a restore asks by itself, later.

    Users can write meanwhile. Raises: Refused (a no, or no answer).
    """
    if plan.way is Way.RESTORE:
        return ()
    losses, is_several = await count_losses(env, plan.undo), len(plan.undo) > 1
    is_kept = env.migrations is not None and env.migrations.keep_old_values
    questions = [ask_down(plan, request, losses, is_kept=is_kept)] if losses or is_several else []
    questions += [ask_several(plan)] if is_several else []
    agreed: list[str] = []
    for number, question in enumerate(questions):
        await notify(env, asking_before(plan, request, env.name, this_run(env), number))
        answer = await ask_consent(question, env.policy.gate_deadline_s)
        if not answer.is_yes:
            raise Refused(f"{answer}. {', '.join(plan.undo)} stays.")
        agreed.append(str(answer))
    return tuple(agreed)


async def carry_out(env: Environment, lease: MigrationLease, tried: str) -> FlowResult:
    """The five steps, from wherever the lease stands."""
    lines = await show(env, lease, (), f"flow run {lease.flow_run_id} holds {', '.join(lease.services)}{tried}")
    if progress_of(lease).declined:
        return await reopen(env, lease)
    if not progress_of(lease).is_data_done:
        # Here, since the run that held the services may have died before.
        await notify(env, closing(lease, env.name, env.contacts, env.run_url(lease.flow_run_id)))
        lease, proof = await close_all(env, lease)
        lines = await show(env, lease, lines, f"writes are off: {proof}")
        await notify(env, await migration_ticket(env, lease, lines))
        why = await undo_all(env, lease)
        if why:
            restored = await restore(env, lease, why)
            if isinstance(restored, FlowResult):
                return restored
            lease = restored
        kept = await count_retained(env, lease)
        lease = await save_lease(env, with_progress(lease, is_data_done=True, kept=kept))
        lines = await show(env, lease, lines, f"the data is as it was before{kept_words(lease)}")
    await open_all(env, lease)
    return await complete(env, lease, lines)


async def close_all(env: Environment, lease: MigrationLease) -> tuple[MigrationLease, str]:
    """Step 1: no write reaches the database from any service; a refused one proves it, and none is under way. Returns
    what proves it, too.

    Requests under way are waited for again only where a service was open meanwhile: the step that finds one says so
    before it is closed, or one that dies then would leave no trace of it.
    """
    if progress_of(lease).is_drained and (await closed_services(env, lease)).off != lease.services:
        lease = await save_lease(env, with_progress(lease, is_drained=False))
    for service in lease.services:
        await stop_writes(env, lease, service)
    proofs = await asyncio.gather(*(prove_closed(env, service) for service in lease.services))
    if not progress_of(lease).is_drained:
        await drain(env)
        lease = await save_lease(env, with_progress(lease, is_drained=True))
    return lease, "; ".join(proof.removesuffix(".") for proof in proofs)


async def undo_all(env: Environment, lease: MigrationLease) -> str:
    """Step 2: each migration is taken back by its own ``down``, the newest first.

    Returns why a backup must be restored instead, or nothing.
    """
    plan = progress_of(lease).plan
    left = await still_applied(env, plan.undo)
    if left and plan.way is Way.RESTORE:
        return plan.why
    for name in left:
        if problem := await verify(env, lease, name, await undo(env, lease, name)):
            return f"the data is not right after its down ({problem})"
        await forget(env, name)
    return ""


async def open_all(env: Environment, lease: MigrationLease) -> None:
    """Steps 4 and 5: the code that can read the data passes its smoke tests out of sight, then users come back."""

    for service in lease.services:
        if write_freeze.can_introduce(lease, service):
            await introduce(env, lease, service)
            if problem := await smoke_test(env, service, lease):
                raise Refused(problem)
    for service in lease.services:
        await start_writes(env, lease, service)
    for service in lease.services:
        if problem := await smoke_test(env, service):
            raise Refused(problem)


async def complete(env: Environment, lease: MigrationLease, lines: tuple[str, ...]) -> FlowResult:
    """People are told, and the services are free again."""
    serving = ", ".join(f"{rollout.service} serves {rollout.to_revision}" for rollout in lease.rollouts)
    outcome = FlowResult(
        end=ReleaseOutcome.ROLLED_BACK,
        message=f"{', '.join(progress_of(lease).plan.undo)} taken back; {serving}.",
        release_id=lease.release_id,
    )
    await show(env, lease, lines, outcome.message)
    await notify(env, done(lease, env.name))
    await notify(env, Resolution(key=lease.release_id))
    await end_refused(env, "migration-rollback", "migration", "", lease.migration)
    for service in reversed(lease.services):
        await end_at(env, lease, service)
    return outcome


async def stop_here(env: Environment, lease: MigrationLease, why: str) -> FlowResult:
    """A step failed: everything stays as it is, a person is paged, and the way on is said."""
    outcome = await notify_stopped(env, lease, why)
    try:
        await halt(env, lease, why)
    except Fenced:
        raise
    except (
        ReleaseError
    ) as unwritten:  # the coordinator itself is out of reach: recovery will ask again, and stop for good
        get_run_logger().error("%s does not say that it stopped: %s", lease.coordinator, unwritten)
    return outcome
