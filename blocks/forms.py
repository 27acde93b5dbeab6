"""The deployments on a Prefect server, finished with what only their environment knows: choices, links, the version."""

import importlib.metadata
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate
from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName
from prefect.client.schemas.responses import DeploymentResponse

from blocks import status_page
from blocks.environment import Environment
from playbook.errors import BadRequest
from playbook.form import deployed
from playbook.messages.status import described

INTERNAL = "internal"
"""The tag of a deployment that only this project starts."""
POOL = "playbook"
PAGE = 100
"""Deployments that are read at once."""


def version() -> str:
    """The version of this project: the package's, and the commit where this is a checkout."""
    package = importlib.metadata.version("ethixai-playbook")
    describe = ("git", "describe", "--always", "--dirty", "--abbrev=8")
    root = Path(__file__).resolve().parent
    try:
        done = subprocess.run(describe, cwd=root, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return package  # installed without its repository
    return f"{package}+{done.stdout.strip()}"


async def finish_deployments(only: Environment | None = None) -> list[str]:
    """Every deployment of the playbook (``only`` of one environment) has its choices, its link and its version.

    It may be done again at any time. Returns the names of those that were changed. Raises: PREFECT_AWAY.
    """
    done: list[str] = []
    environments: dict[str, Environment | None] = {only.name: only} if only else {}
    pages: dict[str, str] = {}
    async with get_client() as client:
        names = {flow.id: flow.name for flow in await client.read_flows(limit=200)}
        async for one in _deployments(client):
            name = str((one.parameters or {}).get("environment", one.name))
            if only is not None and name != only.name:
                continue
            if name not in environments:
                environments[name] = await _opened(name)
            if (environment := environments[name]) is not None:
                if name not in pages:
                    page, _ = await status_page.find(client, name)
                    pages[name] = environment.ui(f"/artifacts/artifact/{page}")
                await client.update_deployment(one.id, finished(one, environment, pages[name]))
                done.append(f"{names.get(one.flow_id, '?')}/{one.name}")
    return sorted(done)


def finished(one: DeploymentResponse, environment: Environment, page_url: str = "") -> DeploymentUpdate:
    """What is changed of a deployment. ``page_url``: of its environment's status page."""
    schema = deployed(
        one.parameter_openapi_schema or {},
        environment.name,
        environment.service_names,
        is_internal=INTERNAL in (one.tags or ()),
    )
    return DeploymentUpdate(
        parameter_openapi_schema=schema,
        description=described(one.description or "", environment.name, page_url),
        version=version(),
    )


async def _deployments(client: PrefectClient) -> AsyncIterator[DeploymentResponse]:
    pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL]))
    offset = 0
    while page := await client.read_deployments(work_pool_filter=pool, limit=PAGE, offset=offset):
        for one in page:
            yield one
        offset += PAGE


async def _opened(name: str) -> Environment | None:
    """The environment of that name; None where it was not applied yet: applying it finishes its deployments."""
    try:
        return await Environment.open(name)
    except BadRequest:
        return None
