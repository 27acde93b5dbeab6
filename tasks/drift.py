"""What a person changed in a service's configuration while traffic was pinned, before a release decides about it."""

import asyncio

from prefect import get_run_logger

from blocks.environment import Environment
from playbook.errors import Refused
from playbook.release.drift import Drift, DriftPolicy
from playbook.release.traffic import ServiceSnapshot
from tasks.retries import READ, step


@step("drift", **READ)
async def check_drift(
    env: Environment, found: dict[str, ServiceSnapshot], *, is_urgent: bool = False
) -> dict[str, tuple[str, ...]]:
    """How the template of each service differs from what serves, a line for each field. A service that is missing may
    be changed until it is deployed: the change is left out.

    ``is_urgent``: a difference is no reason to refuse. Raises: Refused (the policy says so), Transient.
    """
    policy, looks = env.policy.drift, (_drift(env, snapshot) for snapshot in found.values())
    drifts = [one for one in await asyncio.gather(*looks) if one is not None]
    for one in drifts:
        for line in map(str, one.differences):
            get_run_logger().info("%s: template of %s: %s", one.service, one.revision, line)
    refusals = [one.refusal() for one in drifts if one.lines]
    if refusals and policy is DriftPolicy.REFUSE and not is_urgent:
        raise Refused(" ".join(refusals))
    is_left = policy is DriftPolicy.LEAVE or is_urgent
    none = {} if is_left else dict.fromkeys(found, ())
    return none | {one.service: one.lines for one in drifts if one.lines}


async def _drift(env: Environment, snapshot: ServiceSnapshot) -> Drift | None:
    """None where the newest revision serves: the template is its own."""
    serving = snapshot.pinned.main
    if snapshot.latest_created == serving:
        return None
    return await env.cloud_run.drift(snapshot, serving, env.service(snapshot.service).environment)
