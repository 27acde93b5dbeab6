"""What the status page links to: forms that are filled in, and everything that people start."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas import filters, sorting
from prefect.client.schemas.responses import DeploymentResponse

from blocks.environment import Environment
from playbook.messages.status import Link, Start, started
from playbook.release.outcome import ReleaseOutcome
from playbook.release.version import VERSION

STARTED = (
    *("release", "rollback", "hotfix", "mitigate", "migration-rollback", "validation", "flight-check"),
    *("retrospective", "quarterly-review"),
)
"""The flows that people start, in the order in which they are listed."""


async def deployments(client: PrefectClient, environment: str) -> dict[str, DeploymentResponse]:
    """The environment's deployments that people start, by their flow."""
    wanted = filters.FlowFilter(name=filters.FlowFilterName(any_=list(STARTED)))
    flows = {flow.id: flow.name for flow in await client.read_flows(flow_filter=wanted)}
    found = await client.read_deployments(
        flow_filter=wanted,
        deployment_filter=filters.DeploymentFilter(name=filters.DeploymentFilterName(any_=[environment])),
    )
    by_flow = {flows[one.flow_id]: one for one in found if one.flow_id in flows}
    return {name: by_flow[name] for name in STARTED if name in by_flow}


async def passed_staging(client: PrefectClient, env: Environment) -> str:
    """The version that was released to staging last; empty where that is not known."""
    if not env.staging:
        return ""
    found = await client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            tags=filters.FlowRunFilterTags(all_=[env.staging, "release"]),
            state=filters.FlowRunFilterState(name=filters.FlowRunFilterStateName(any_=[ReleaseOutcome.PROMOTED.value])),
        ),
        sort=sorting.FlowRunSort.END_TIME_DESC,
        limit=1,
    )
    return next((tag for run in found for tag in run.tags if VERSION.fullmatch(tag)), "")


def forms(
    env: Environment, deployments: Mapping[str, DeploymentResponse], releases: Iterable[str], staged: str
) -> tuple[Link, ...]:
    """Forms that are filled in as far as the page knows. ``staged``: the version that passed staging last."""
    wanted: list[tuple[str, str, dict[str, Any]]] = [
        (f"a release of {staged}" if staged else "a release", "release", {"version": staged} if staged else {})
    ]
    wanted += [(f"a rollback to {name}", "rollback", {"to": name}) for name in releases]
    wanted += [("a hotfix", "hotfix", {}), ("a rollback", "rollback", {})]
    return tuple(
        Link(title=title, url=_form_url(env, deployments[flow], request))
        for title, flow, request in wanted
        if flow in deployments
    )


def starts(env: Environment, deployments: Mapping[str, DeploymentResponse]) -> Iterator[Start]:
    """Everything that people start here, in the words of each deployment's description."""
    for flow, one in deployments.items():
        title, what = started(one.description or "", flow)
        yield Start(title=title, url=_form_url(env, one, {}), what=what)


def _form_url(env: Environment, deployment: DeploymentResponse, request: dict[str, Any]) -> str:
    properties = (deployment.parameter_openapi_schema or {}).get("properties", {})
    known = {"request": request, "environment": env.name}
    filled = quote(json.dumps({name: known[name] for name in known if name in properties}, ensure_ascii=False))
    return f"{env.ui_url}/v2/deployments/deployment/{deployment.id}/run?parameters={filled}"
