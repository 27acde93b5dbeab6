"""A release whose run a person has paused in Prefect's UI: it is held with a deadline, and goes on when resumed."""

from blocks.environment import Environment
from flows.steps import carry_out, step_back
from playbook.errors import Fenced, OutOfBandChange
from playbook.lease.lease import Decision, Lease
from playbook.messages import chat
from playbook.messages.report import Report
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.attempt import Attempt, attempt
from tasks.heartbeat import with_heartbeat
from tasks.lease import as_it_stands, find_own_lease, take_over
from tasks.notify import notify
from tasks.pause import hold_while_paused
from tasks.report import note, open_report


async def hold_paused(env: Environment, report: Report) -> FlowResult:
    """The release waits for the person who paused it; without them it is taken back at the deadline.

    It is never promoted here. Raises: Unfinished, as `carry_out`.
    """
    paused_run = report.lease.runs[-1]
    await notify(env, chat.paused(report, env.run_url(paused_run)))
    try:
        reason = await hold_while_paused(env, report.lease)
    except Fenced:
        message = f"{report.lease.release_id} was resumed and goes on in its own run."
        return FlowResult(end=ReleaseOutcome.PASSED, message=message, release_id=report.lease.release_id)
    except OutOfBandChange as out_of_band:
        return await step_back(env, report, out_of_band)
    return await carry_out(env, report.deciding(Decision.REVERT, reason))


async def resume(env: Environment) -> FlowResult | None:
    """How the release of this very run ended in ``env``, where it was paused and a person has resumed it. None where
    the run holds nothing there."""
    if await attempt() is not Attempt.RESUMED or (found := await find_own_lease(env)) is None:
        return None

    async def taken(found: Lease) -> Lease:
        return await take_over(env, found.resumed(), found)

    lease = await as_it_stands(env, found, taken)
    if lease is None:
        return None
    async with with_heartbeat(env, lease):
        report = await note(await open_report(env, lease), "a person resumed it")
        await notify(env, chat.resumed(report, env.run_url(lease.flow_run_id)))
        return await carry_out(env, report)
