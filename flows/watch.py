"""The hour after a promotion, a rollback or a mitigation (playbook 3, step 3): page if it turns bad, tell how it went.

It moves no traffic; where the policy says `revert_in_watch`, it starts the rollback that it otherwise only offers.
"""

from collections.abc import Sequence
from functools import partial

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.analysis.verdict import Action, Verdict, alarming
from playbook.lease.lease import AnyLease, Lease
from playbook.messages.page import alarm_rollback
from playbook.messages.watch import left_early, watch_passed, watched
from playbook.messages.words import measured
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import notify_alarm, watch_words
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.lease import end_watches
from tasks.monitor import clock, monitor
from tasks.notify import notify
from tasks.start import start
from tasks.visible_step import visible_step


@asked_flow(name="watch", flow_run_name="watch {lease.version} in {environment}")
async def watch(
    lease: AnyLease, environment: str = "production", signature: str = "", measure: str = ""
) -> State[None]:
    """Watch for the policy's hour what users were moved to. Started by the engine alone.

    Args:
        lease: The release or rollback, as it was when it ended.
        environment: The environment it ended in.
        signature: Of the lease and the measure, by the run that ended it.
        measure: What a mitigation did to the lease's service; empty after a release or rollback.
    """
    return await ending(_watch(environment, lease, signature, measure), is_repeatable=True)


def why_alarmed(verdicts: Sequence[Verdict]) -> str:
    """Why the watch is red."""
    bad = alarming(verdicts)
    return f"{bad.service}: {bad.explanation}" if bad else ""


async def _watch(environment: str, lease: Lease, signature: str, measure: str) -> FlowResult:
    env = await Environment.open(environment)
    await env.signer.check_words("watch", watch_words(lease, measure), signature)
    env = env.whole(lease)
    baking = lease.watched().baking_from(await clock(env))
    looked = partial(monitor, env, baking, env.policy.watching(), is_held=False)
    verdicts = await visible_step(f"monitor {lease.version} in {env.name}", looked, why_alarmed)
    if bad := alarming(verdicts):
        await notify_alarm(env, lease, bad, measure)
        is_taken_back = env.policy.revert_in_watch and not (lease.is_back or measure)
        if is_taken_back and bad.action is not Action.INCONCLUSIVE:
            request = {**alarm_rollback(lease, bad), "requested_by": f"watch of {lease.release_id}"}
            asked = {"request": request, "environment": env.name}
            await start(f"rollback/{env.name}", asked, f"rollback/{env.name}/{lease.release_id}/watch")
        return FlowResult(end=ReleaseOutcome.ALARMED, message=bad.explanation, release_id=lease.release_id)
    kept = [] if lease.is_back or measure else await end_watches(env, lease)
    unsure = [f"{one.service}: {measured(one)}" for one in verdicts if one.action is Action.INCONCLUSIVE]
    moved = sorted(set(lease.services) - {one.service for one in verdicts})
    said = [watch_passed(lease, env.policy.watch_s, unsure, measure)] if verdicts else []
    message = " ".join([*said, *left_early(lease, moved), *kept])
    await notify(env, watched(lease, env.name, message, measure))
    end = ReleaseOutcome.PASSED if verdicts else ReleaseOutcome.SUPERSEDED
    return FlowResult(end=ReleaseOutcome.UNFIT if kept else end, message=message)
