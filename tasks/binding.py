"""A deployment acts on the environment that it is named after, whatever the parameters of a run say."""

import inspect
import os

from prefect.client import orchestration
from prefect.context import FlowRunContext

from playbook.errors import Refused

DEPLOYMENT = "PLAYBOOK_DEPLOYMENT"
"""The environment variable in which our worker (worker/bound.py) tells a run the name of its deployment."""


async def bound_environment() -> str:
    """The environment that this run's deployment acts on; empty for a run without one. Prefect is asked where the
    worker has not told it."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow_run.deployment_id is None:
        return ""
    if told := os.environ.get(DEPLOYMENT):
        return told
    async with orchestration.get_client() as client:
        return (await client.read_deployment(context.flow_run.deployment_id)).name


async def check_environment() -> None:
    """The run's parameter ``environment`` is the name of its deployment.

    A run without a deployment (a test, a shell) is not bound. Raises: Refused.
    """
    context, bound_to = FlowRunContext.get(), await bound_environment()
    if context is None or not bound_to:
        return
    asked = (context.parameters or {}).get("environment") or _default(context)
    if isinstance(asked, str) and asked != bound_to:  # anything else is refused as what it is (tasks/asked.py)
        flow = context.flow.name if context.flow else "this flow"
        raise Refused(
            f"This deployment acts on {bound_to} only, and the run asked for {asked}. Start {flow}/{asked} instead."
        )


def _default(context: FlowRunContext) -> str | None:
    """What the flow acts on where the deployment's parameter was removed; None where it has no such parameter."""
    declared = inspect.signature(context.flow.fn).parameters.get("environment") if context.flow else None
    return None if declared is None or declared.default is declared.empty else str(declared.default)
