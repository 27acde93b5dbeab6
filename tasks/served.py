"""Where users are now, for a page that wakes a person."""

import asyncio
from collections.abc import Iterable

from blocks.environment import Environment
from playbook.errors import ReleaseError

LOOK_S = 5
"""A page waits so long for a look at the services, and no longer."""


async def users_of(env: Environment, services: Iterable[str]) -> dict[str, str]:
    """What each of ``services`` serves to its users now, or why that cannot be read, in words. One call each.

    It raises nothing: a page is sent with what is known.
    """
    names = tuple(services)
    return dict(zip(names, await asyncio.gather(*(_served(env, name) for name in names)), strict=True))


async def _served(env: Environment, service: str) -> str:
    try:
        async with asyncio.timeout(LOOK_S):
            split = (await env.cloud_run.snapshot(service)).served
    except TimeoutError:
        return f"not known: Cloud Run did not answer within {LOOK_S} s"
    except ReleaseError as away:
        return f"not known: {away}"
    if split is None:
        return "not known: Cloud Run reports no traffic"
    return ", ".join(f"{share} % on {revision}" for revision, share in split.percent.items())
