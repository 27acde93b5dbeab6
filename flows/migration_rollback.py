"""Taking a database migration back (playbook 4, scenario 3): writes stop, the data goes back, the code follows, writes
start.

Whatever stops it leaves writes off and says how to go on; started again, it goes on from where it was.
"""

import asyncio
from functools import partial

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from flows.restoration import reopen, restore
from playbook import standstill
from playbook.claim import Claim
from playbook.errors import BadRequest, Fenced, Held, Refused, ReleaseError
from playbook.messages import Resolution
from playbook.migration import MigrationRequest, RollbackPlan, Way
from playbook.outcome import End, Outcome
from playbook.recovery import Owner
from playbook.undoing import closing, done, go_on, halted
from tasks.announce import tell
from tasks.beat import beating, owner_of
from tasks.claim import as_it_stands, release_claim, take_over
from tasks.ending import ending
from tasks.incident import run_url, undoing_ticket
from tasks.migration import (
    closed_services,
    drain,
    halt,
    hold_services,
    introduce,
    note_undoing,
    plan_undoing,
    prove_closed,
    show,
    start_writes,
    stop_writes,
    undoing_found,
)
from tasks.restore import find_backup
from tasks.validation import smoke_test
from tasks.walk import dry_run, forget, still_applied, undo, verify


@flow(name="migration-rollback", flow_run_name="take back {request.migration} in {environment}")
async def migration_rollback(request: MigrationRequest, environment: str = "production") -> State[None]:
    """Take a database migration back, or go on with one that stopped.

    Args:
        request: Which migration, and why. A rollback that is under way already goes on, whatever is asked here.
        environment: The environment whose database it is, by the name of its block.
    """
    return await ending(_migration_rollback(request, environment))


async def _migration_rollback(request: MigrationRequest, environment: str) -> Outcome:
    env = await Environment.open(environment)
    claim, tried = await take_or_go_on(env, request)
    async with beating(env, claim):
        try:
            return await carry_out(env, await note_undoing(env, standstill.going_on(claim)), tried)
        except Fenced:
            raise
        except ReleaseError as why:
            return await stop_here(env, claim, str(why))
        except Exception as why:  # noqa: BLE001  # writes may be off: whatever it is, somebody must hear of it
            get_run_logger().exception("not foreseen")
            return await stop_here(env, claim, f"{type(why).__name__}: {why}. The run's log says where.")


async def take_or_go_on(env: Environment, request: MigrationRequest) -> tuple[Claim, str]:
    """The claim of this rollback, a new one or the one that a run before this left behind; and what was tried first.

    Raises: Held (somebody is at it right now), BadRequest, Refused; nothing was touched then.
    """
    found = await undoing_found(env)
    if found is None:
        if problems := request.problems():
            raise BadRequest(problems)
        plan = await plan_undoing(env, request)
        tried = await try_first(env, plan)
        return await hold_services(env, request, plan), f"; {tried}"
    claim = await as_it_stands(env, found, partial(go_on_with, env, request))
    if claim is None:
        raise Refused(f"{found.release_id} has ended just now. Look how, before you start anything again.")
    return claim, ""


async def go_on_with(env: Environment, request: MigrationRequest, found: Claim) -> Claim:
    """The claim of the rollback ``found``, held by this run. Raises: as `take_or_go_on`, and as `take_over`."""
    if await owner_of(env, found) is Owner.ALIVE:
        raise Held(f"{found.release_id} is under way in flow run {found.flow_run_id}.", is_same=True)
    if found.undoing.halted and (problems := request.problems()):
        # Recovery asks like this. What stopped goes on only once a person has read why.
        raise BadRequest([f"{found.release_id} has stopped: {found.undoing.halted} To go on:", *problems])
    return await take_over(env, found, found)


async def try_first(env: Environment, plan: RollbackPlan) -> str:
    """What will be done, tried while users can still write. Raises: Refused (it cannot be done), BadRequest."""
    if plan.way is Way.RESTORE:
        return str(await find_backup(env, plan))
    return "dry run: " + "; ".join([await dry_run(env, name) for name in plan.undo])


async def carry_out(env: Environment, claim: Claim, tried: str) -> Outcome:
    """The five steps, from wherever the claim stands."""
    lines = await show(env, claim, (), f"flow run {claim.flow_run_id} holds {', '.join(claim.services)}{tried}")
    if claim.undoing.declined:
        return await reopen(env, claim)
    if not claim.undoing.is_data_done:
        # Here, since whoever held the services may have died before.
        await tell(env, closing(claim, env.name, env.contacts, run_url(env, claim)))
        claim, proof = await close_all(env, claim)
        lines = await show(env, claim, lines, f"writes are off: {proof}")
        await tell(env, await undoing_ticket(env, claim, lines))
        why = await undo_all(env, claim)
        if why:
            restored = await restore(env, claim, why)
            if isinstance(restored, Outcome):
                return restored
            claim = restored
        claim = await note_undoing(env, standstill.with_undoing(claim, is_data_done=True))
        lines = await show(env, claim, lines, "the data is as it was before")
    await open_all(env, claim)
    return await complete(env, claim, lines)


async def close_all(env: Environment, claim: Claim) -> tuple[Claim, str]:
    """Step 1: no write reaches the database from any service; a refused one proves it, and none is under way. Returns
    what proves it, too.

    Requests under way are waited for again only where a service was open meanwhile: whoever finds one open says so
    before it is closed, or one that dies then would leave no trace of it.
    """
    if claim.undoing.is_drained and (await closed_services(env, claim)).off != claim.services:
        claim = await note_undoing(env, standstill.with_undoing(claim, is_drained=False))
    for service in claim.services:
        await stop_writes(env, claim, service)
    proofs = await asyncio.gather(*(prove_closed(env, service) for service in claim.services))
    if not claim.undoing.is_drained:
        await drain(env)
        claim = await note_undoing(env, standstill.with_undoing(claim, is_drained=True))
    return claim, "; ".join(proof.removesuffix(".") for proof in proofs)


async def undo_all(env: Environment, claim: Claim) -> str:
    """Step 2: each migration is taken back by its own ``down``, the newest first.

    Returns why a backup must be restored instead, or nothing.
    """
    plan = claim.undoing.plan
    left = await still_applied(env, plan.undo)
    if left and plan.way is Way.RESTORE:
        return plan.why
    for name in left:
        if problem := await verify(env, claim, name, await undo(env, claim, name)):
            return f"the data is not right after its down ({problem})"
        await forget(env, name)
    return ""


async def open_all(env: Environment, claim: Claim) -> None:
    """Steps 4 and 5: the code that can read the data passes its smoke tests out of sight, then users come back."""

    for service in claim.services:
        if standstill.can_introduce(claim, service):
            await introduce(env, claim, service)
            if problem := await smoke_test(env, service, on_canary=True):
                raise Refused(problem)
    for service in claim.services:
        await start_writes(env, claim, service)
    for service in claim.services:
        if problem := await smoke_test(env, service):
            raise Refused(problem)


async def complete(env: Environment, claim: Claim, lines: tuple[str, ...]) -> Outcome:
    """Everybody is told, and the services are anybody's again."""
    serving = ", ".join(f"{part.service} serves {part.stable}" for part in claim.parts)
    outcome = Outcome(
        end=End.ROLLED_BACK,
        message=f"{', '.join(claim.undoing.plan.undo)} taken back; {serving}.",
        release_id=claim.release_id,
    )
    await show(env, claim, lines, outcome.message)
    await tell(env, done(claim, env.name))
    await tell(env, Resolution(key=claim.release_id))
    for service in reversed(claim.services):
        await release_claim(env, claim, service)
    return outcome


async def stop_here(env: Environment, claim: Claim, why: str) -> Outcome:
    """A step failed: everything stays as it is, somebody is woken, and the way on is said."""
    outcome = await say_stopped(env, claim, why)
    try:
        await halt(env, claim, why)
    except Fenced:
        raise
    except ReleaseError as unwritten:  # the lead itself is out of reach: recovery will ask again, and stop for good
        get_run_logger().error("%s does not say that it stopped: %s", claim.lead, unwritten)
    return outcome


async def stop_lost(env: Environment, found: Claim, why: str) -> Outcome:
    """The same for the rollback ``found`` of another process, which writes nothing more. Raises: Fenced."""
    outcome = await say_stopped(env, found, why)
    await take_over(env, standstill.with_undoing(found, halted=why), found)
    return outcome


async def say_stopped(env: Environment, claim: Claim, why: str) -> Outcome:
    """Somebody is woken before the claim says that it stopped: nobody goes on with one that says so, or speaks of it.

    Raises: Fenced (a newer run has it; nobody is woken).
    """
    closed = await closed_services(env, claim)
    state = f"Writes to {', '.join(closed.off)} are off. " if closed.off else ""
    state += f"Whether they are to {', '.join(closed.unseen)} could not be seen. " if closed.unseen else ""
    await tell(env, halted(claim, env.name, f"{why} {state}"))
    return Outcome(end=End.HALTED, message=f"{why} {state}{go_on(env.name)}", release_id=claim.release_id)
