"""The hour after a promotion (playbook 3, step 3): look on, and page if it turns bad.

It moves no traffic; where the policy says `revert_in_watch`, it starts the rollback that it otherwise only offers.
"""

from collections.abc import Sequence
from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.analysis.verdict import Action, Verdict, alarming
from playbook.lease.lease import AnyLease, Lease
from playbook.messages.page import alarm_rollback
from playbook.messages.times import minutes
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import notify_alarm
from tasks.ending import ending
from tasks.lease import end_watch
from tasks.monitor import clock, monitor
from tasks.start import start
from tasks.story import story


@flow(name="watch", flow_run_name="watch {lease.version} in {environment}")
async def watch(lease: AnyLease, environment: str = "production", signature: str = "") -> State[None]:
    """Watch a promoted release for the policy's hour. Started by the engine alone.

    Args:
        lease: The release, as it was when it was promoted.
        environment: The environment it was promoted in.
        signature: Of the lease, by the run that promoted it.
    """
    return await ending(_watch(environment, lease, signature), is_repeatable=True)


def why_alarmed(verdicts: Sequence[Verdict]) -> str:
    """Why the watch is red."""
    bad = alarming(verdicts)
    return f"{bad.service}: {bad.explanation}" if bad else ""


async def _watch(environment: str, lease: Lease, signature: str) -> FlowResult:
    env = await Environment.open(environment)
    await env.signer.check_words("watch", lease.stored(), signature)
    baking = lease.baking_from(await clock(env))
    watched = partial(monitor, env, baking, env.policy.watching(), is_held=False)
    verdicts = await story(f"monitor {lease.version} in {env.name}", watched, why_alarmed)
    if bad := alarming(verdicts):
        await notify_alarm(env, lease, bad)
        if env.policy.revert_in_watch and bad.action is not Action.INCONCLUSIVE:
            request = {**alarm_rollback(lease, bad), "requested_by": f"watch of {lease.release_id}"}
            asked = {"request": request, "environment": env.name}
            await start(f"rollback/{env.name}", asked, f"rollback/{env.name}/{lease.release_id}/watch")
        return FlowResult(end=ReleaseOutcome.ALARMED, message=bad.explanation, release_id=lease.release_id)
    for service in lease.services:
        await end_watch(env, lease, service)
    message = f"{lease.version}: nothing bad in the {minutes(env.policy.watch_s)} after its promotion."
    unsure = [f"{one.service}: {one.explanation}" for one in verdicts if one.action is Action.INCONCLUSIVE]
    return FlowResult(end=ReleaseOutcome.PASSED, message=" Not certain: ".join([message, *unsure[:1]]))
