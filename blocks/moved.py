"""Whether an environment's services may be looked for at another place from now on."""

from prefect.client.orchestration import get_client
from prefect.client.schemas import filters
from prefect.client.schemas.objects import StateType

from blocks.environment import Environment
from playbook.errors import BadRequest
from playbook.lease.origin import FLOWS, RECOVERY

UNDER_WAY = [StateType.RUNNING, StateType.PENDING, StateType.PAUSED, StateType.CANCELLING]


async def held_at_old_place(environment: Environment) -> str:
    """Why the services must not move to another project or region now; empty where they do not move, or may.

    A release under way holds services at the place of before, where no recovery and no rollback would look for it.
    Raises: what the Prefect client raises.
    """
    try:
        before = await Environment.open(environment.name)
    except BadRequest:
        return ""  # it is new, or of another version, which says no place that can be compared
    if before.gcloud_flags == environment.gcloud_flags:
        return ""
    async with get_client() as client:
        found = await client.read_flow_runs(
            flow_filter=filters.FlowFilter(name=filters.FlowFilterName(any_=[*FLOWS.values(), RECOVERY])),
            flow_run_filter=filters.FlowRunFilter(
                tags=filters.FlowRunFilterTags(all_=[environment.name]),
                state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=UNDER_WAY)),
            ),
        )
    names = ", ".join(sorted(run.name for run in found))
    moves = f"its services move from {before.gcloud_flags} to {environment.gcloud_flags}"
    end = "Wait until they have ended, or cancel them and let recovery end; then apply the file again."
    return f"{moves}, and these runs may hold some of them: {names}. {end}" if names else ""
