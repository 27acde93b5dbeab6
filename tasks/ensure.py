"""The one way this project writes to a service: read, compare, and write only what is missing."""

from collections.abc import Callable

from blocks.environment import Environment
from playbook.errors import Conflict
from playbook.lease.change import Change
from playbook.release.traffic import ServiceSnapshot

CONFLICTS_MAX = 8
"""How often the etag may move under us before we say so. Every round reads again and decides again."""


async def ensure(env: Environment, service: str, step: Callable[[ServiceSnapshot], Change | None]) -> ServiceSnapshot:
    """Make ``service`` as ``step`` wants it, and return the read that shows it.

    ``step`` is pure: it gets a fresh read and answers what is missing. It raises Fenced or Interrupted where the
    service is
    no longer ours. Raises: Conflict (the etag moved every time), and whatever `CloudRun` raises.
    """
    for _ in range(CONFLICTS_MAX):
        snapshot = await env.cloud_run.snapshot(service)
        change = step(snapshot)
        if change is None:
            return snapshot
        try:
            return await env.cloud_run.write(snapshot, change)
        except Conflict as moved:
            conflict = moved
    raise conflict
