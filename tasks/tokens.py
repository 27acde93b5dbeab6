"""Whether the worker's own tokens can be read, and until when they are good."""

import asyncio
from collections.abc import Mapping

from blocks.environment import Environment
from blocks.ports import TokenEnds
from blocks.secret_reference import SecretReference
from playbook.checklist.checks import SecretState, jwt_ends_s, secret_problem
from playbook.errors import Refused


async def token_problems(env: Environment, until_s: float) -> list[str]:
    """A sentence for each token of the worker that it cannot read, that is revoked, or that ends before ``until_s``.

    A token tells its end where it is a JWT; else the vendor that takes it may tell it (GitHub does). A system that is
    away raises Transient.
    """
    read = await asyncio.gather(*(_of_the_token(place, one, until_s) for place, one in env.references().items()))
    problems = dict(zip(env.references(), read, strict=True))
    vendors = {place: one for place, one in _vendors(env).items() if not problems.get(f"{place}.token")}
    asked = await asyncio.gather(*(_of_the_vendor(place, one, until_s) for place, one in vendors.items()))
    return [one for one in (*read, *asked) if one]


def _vendors(env: Environment) -> Mapping[str, TokenEnds]:
    """Each vendor that says until when our token is good, by its place in the file; one that is named twice, once."""
    named = {"code_host": env.code_host, "tickets": env.tickets, "release_tracker": env.release_tracker}
    every = [*named.items(), *(("pagers", one) for one in env.pagers), *(("channels", one) for one in env.channels)]
    found: dict[str, TokenEnds] = {}
    for place, vendor in every:
        if isinstance(vendor, TokenEnds) and vendor not in found.values():
            found[place] = vendor
    return found


async def _of_the_token(place: str, reference: SecretReference, until_s: float) -> str:
    try:
        ends_s = jwt_ends_s((await reference.read()).get_secret_value())
    except Refused as refused:
        return f"the worker's {place}: {refused}"
    return _ending(place, ends_s, until_s)


async def _of_the_vendor(place: str, vendor: TokenEnds, until_s: float) -> str:
    try:
        return _ending(f"{place}.token", await vendor.token_ends_s(), until_s)
    except Refused as refused:
        return f"the worker's {place}.token: {refused}"


def _ending(place: str, ends_s: float | None, until_s: float) -> str:
    state = SecretState(name=f"the worker's {place}", exists=True, is_enabled=True, expires_at_s=ends_s)
    return secret_problem(state, until_s) or ""
