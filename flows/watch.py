"""The hour after a promotion (playbook 3, step 3): look on, and page if it turns bad.

It moves no traffic; where the policy says `revert_in_watch`, it starts the rollback that it otherwise only offers.
"""

from prefect import flow
from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.claim import Claim
from playbook.messages import alarm_rollback, minutes
from playbook.outcome import End, Outcome
from playbook.verdict import Action, alarming
from tasks.announce import say_alarm
from tasks.claim import end_watch
from tasks.ending import ending
from tasks.monitor import clock, monitor
from tasks.start import start


@flow(name="watch", flow_run_name="watch {claim.version} in {environment}")
async def watch(claim: Claim, environment: str = "production") -> State[None]:
    """Watch a promoted release for the policy's hour.

    Args:
        claim: The release, as it was when it was promoted.
        environment: The environment it was promoted in.
    """
    return await ending(_watch(environment, claim))


async def _watch(environment: str, claim: Claim) -> Outcome:
    env = await Environment.open(environment)
    verdicts = await monitor(env, claim.baking_from(await clock(env)), env.policy.watching(), is_held=False)
    if bad := alarming(verdicts):
        await say_alarm(env, claim, bad)
        if env.policy.revert_in_watch and bad.action is not Action.INCONCLUSIVE:
            request = {**alarm_rollback(claim, bad), "requested_by": f"watch of {claim.release_id}"}
            asked = {"request": request, "environment": env.name}
            await start(f"rollback/{env.name}", asked, f"rollback/{env.name}/{claim.release_id}/watch")
        return Outcome(end=End.ALARMED, message=bad.explanation, release_id=claim.release_id)
    for service in claim.services:
        await end_watch(env, claim, service)
    message = f"{claim.version}: nothing bad in the {minutes(env.policy.watch_s)} after its promotion."
    unsure = [f"{one.service}: {one.explanation}" for one in verdicts if one.action is Action.INCONCLUSIVE]
    return Outcome(end=End.PASSED, message=" Not certain: ".join([message, *unsure[:1]]))
