"""The name and the tags of this flow run: what it does, where, and how it ended, for lists and filters of the UI."""

import asyncio
from uuid import UUID

from prefect import get_run_logger
from prefect.client import orchestration
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound

from blocks.prefect_api import PREFECT_AWAY
from playbook.release.outcome import ReleaseOutcome
from playbook.text import clean

NAME_MAX = 200
TOOK_BACK = ReleaseOutcome.REVERTED.value
"""Tags a run that has taken back a release of another run, beside the version of that release: a search for what was
reverted finds it."""
WAITS_S = 3
"""For a server that hangs: a name is never worth more."""


def deployed_run() -> FlowRun | None:
    """The run of a deployment that this process carries out; None in a test or a shell."""
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    return run if isinstance(run, FlowRun) and run.deployment_id is not None else None


async def name_run(name: str, *tags: str) -> None:
    """This run is called ``name`` from now on, and has these tags too. A server that is away leaves it as it was."""
    await _update(name, tags)


async def name_end(outcome: str) -> str:
    """The name of this run ends with its outcome, which is a tag, too. Returns the name; empty where it has none."""
    return await _update("", (outcome,), outcome)


async def _update(name: str, tags: tuple[str, ...], outcome: str = "") -> str:
    run = deployed_run()
    if run is None:
        return ""
    try:
        return await asyncio.wait_for(_rename(run.id, name, tags, outcome), WAITS_S)
    except (ObjectNotFound, *PREFECT_AWAY, TimeoutError) as away:
        get_run_logger().warning("the run keeps its name: %r", away)
        return run.name


async def _rename(run_id: UUID, name: str, tags: tuple[str, ...], outcome: str) -> str:
    async with orchestration.get_client() as client:
        found = await client.read_flow_run(run_id)
        name = clean(name or found.name, NAME_MAX)
        if outcome and not name.endswith(f": {outcome}"):
            name = f"{name}: {outcome}"
        await client.update_flow_run(run_id, name=name, tags=list(dict.fromkeys([*found.tags, *filter(None, tags)])))
    return name
