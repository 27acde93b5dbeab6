"""Starting a run of another deployment and not waiting for it."""

from typing import Any

from prefect import get_run_logger, task
from prefect.deployments import arun_deployment
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

from tasks.retries import TELL


@task(name="start", task_run_name="start {deployment}", **TELL)
async def start(deployment: str, parameters: dict[str, Any], key: str) -> None:
    """A run of ``deployment`` exists for this key; asking twice starts one.

    A missing deployment is said, and is no failure.
    """
    try:
        run = await arun_deployment(deployment, parameters=parameters, idempotency_key=key, timeout=0, as_subflow=False)
    except (ObjectNotFound, PrefectHTTPStatusError) as unknown:
        get_run_logger().warning("%s was not started: %s", deployment, unknown)
        return
    get_run_logger().info("started %s: %s", deployment, run.name)
