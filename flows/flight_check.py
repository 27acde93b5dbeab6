"""Before a release is trusted to an environment: everything it depends on is asked, and nothing is changed."""

import asyncio

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.messages.not_started import flight_check_failed
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import this_run
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.flight import check_dependency, dependencies, prove_conditional_writes
from tasks.notify import notify
from tasks.telemetry import check_serving_metrics


@asked_flow(name="flight-check", flow_run_name="flight check of {environment}")
async def flight_check(environment: str = "production", allow_a_write: bool = False) -> State[None]:
    """Try everything a release needs of an environment: permissions, telemetry, logs, images, who is on call.

    Args:
        environment: The environment to look at, by the name of its block.
        allow_a_write: Also write one service that no release holds, unchanged, to see that Cloud Run refuses a stale
            write. No user is moved.
    """
    return await ending(_flight_check(environment, allow_a_write), is_repeatable=True)


async def _flight_check(environment: str, allow_a_write: bool) -> FlowResult:
    env = await Environment.open(environment)
    names = dependencies(env)
    found = await asyncio.gather(
        *(check_dependency(env, name) for name in names),
        *(check_serving_metrics(env, service) for service in env.service_names),
    )
    if allow_a_write:
        found.append(await prove_conditional_writes(env))
    problems = [problem for problem in found if problem]
    if problems:
        said = "; ".join(problems)
        await notify(env, flight_check_failed(env.name, said, this_run(env)))
        return FlowResult(end=ReleaseOutcome.UNFIT, message=said)
    message = f"{environment} can be released: all {len(names)} dependencies answer, and metrics make sense."
    return FlowResult(end=ReleaseOutcome.PASSED, message=message)
