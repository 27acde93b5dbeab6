"""Post-deployment validation (playbook 5), on its own: every smoke test against what serves now."""

import asyncio

from prefect.client.schemas.objects import State

from blocks.environment import Environment
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.asked import asked_flow
from tasks.ending import ending
from tasks.telemetry import check_serving_metrics
from tasks.validation import smoke_test


@asked_flow(name="validation", flow_run_name="validate {environment}")
async def validation(environment: str = "production") -> State[None]:
    """Run the smoke tests of every service of an environment, and check that its metrics make sense.

    Args:
        environment: The environment to look at, by the name of its block.
    """
    return await ending(_validation(environment), is_repeatable=True)


async def _validation(environment: str) -> FlowResult:
    env = await Environment.open(environment)
    names = env.service_names
    found = await asyncio.gather(
        *(smoke_test(env, service) for service in names), *(check_serving_metrics(env, service) for service in names)
    )
    problems = [problem for problem in found if problem]
    if problems:
        return FlowResult(end=ReleaseOutcome.UNFIT, message="; ".join(problems))
    return FlowResult(end=ReleaseOutcome.PASSED, message=f"Every smoke test of {', '.join(names)} passed.")
