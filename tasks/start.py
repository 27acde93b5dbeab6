"""Starting a run of another deployment and not waiting for it, or leaving that to a person."""

import json
from typing import Any
from urllib.parse import quote

from prefect import deployments, get_run_logger, runtime, task
from prefect.client import orchestration
from prefect.exceptions import ObjectNotFound

from blocks.clock import unix_s
from blocks.prefect_api import PREFECT_AWAY
from playbook.errors import Transient
from playbook.text import clean, clean_deep
from tasks.retries import TELL, is_last_try

KEY_MAX = 1000


@task(name="start", task_run_name="start {deployment}", **TELL)
async def start(deployment: str, parameters: dict[str, Any], key: str) -> None:
    """A run of ``deployment`` exists for this key; asking twice starts one.

    A missing deployment is said, and is no failure; nor is a server that stays away.
    Raises: Transient (it is away, and will be asked again).
    """
    try:
        cleaned = {name: clean_deep(value) for name, value in parameters.items()}
        run = await deployments.arun_deployment(
            deployment, parameters=cleaned, idempotency_key=clean(key, KEY_MAX), timeout=0, as_subflow=False
        )
    except (ObjectNotFound, *PREFECT_AWAY) as unknown:
        if not isinstance(unknown, ObjectNotFound) and not is_last_try(TELL):
            raise Transient(f"{deployment} was not started: {unknown} Ask again.") from unknown
        get_run_logger().warning("%s was not started: %s", deployment, unknown)
        return
    get_run_logger().info("started %s: %s", deployment, run.name)


async def form_link(ui_url: str, deployment: str, parameters: dict[str, Any]) -> str:
    """Where a person finds the form of ``deployment`` filled in; its name and the parameters where it is unknown.

    Prefect's newer UI (``/v2``) fills a form in from its address; the older one shows it empty.
    """
    filled = json.dumps(parameters, ensure_ascii=False)
    try:
        async with orchestration.get_client() as client:
            found = await client.read_deployment_by_name(deployment)
    except (ObjectNotFound, *PREFECT_AWAY) as unknown:
        get_run_logger().warning("no link to %s: %s", deployment, unknown)
        return f"start {deployment} with {filled}"
    return f"{ui_url}/v2/deployments/deployment/{found.id}/run?parameters={quote(filled)}"


def requested_at_s() -> float:
    """When this run was asked for, in unix seconds: waiting for a worker counts."""
    asked = runtime.flow_run.get_scheduled_start_time()
    return float(asked.timestamp()) if asked is not None else unix_s()


def seconds_since(at_s: float | None) -> float | None:
    """How long ago a moment (unix seconds) is; None where it is not known, or yet to come by this host's clock: the
    moment is of another host."""
    return None if at_s is None or at_s > (now_s := unix_s()) else now_s - at_s
