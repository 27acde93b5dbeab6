"""Until when the worker's own tokens are good: by the tokens themselves, and by GitHub's answer over real HTTP."""

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks import GitHub, Prometheus, files
from blocks.environment import Environment
from blocks.secret_reference import SecretReference
from playbook.errors import Transient
from tasks.tokens import token_problems

PRODUCTION = Path(__file__).resolve().parents[2] / "environments/production.toml"
DAY_S = 86_400.0


def given(text: str) -> SecretReference:
    """A secret that this process has."""
    return SecretReference.given(SecretStr(text))


def jwt(**claims: object) -> str:
    """A JSON Web Token; nobody checks its signature here."""
    head, body = (base64.urlsafe_b64encode(json.dumps(one).encode()).decode().rstrip("=") for one in ({}, claims))
    return f"{head}.{body}.c2lnbmF0dXJl"


async def environment(stand_ins: Any, token: str = "github_pat_x", bearer: str = "opaque") -> Environment:
    """Production with two vendors: GitHub's stand-in, named twice, and a Prometheus."""
    written = await files.read(PRODUCTION, with_secrets=False)
    vendor = GitHub(repository="geoaziz/ethixai", token=given(token), api_url=f"{stand_ins.url}/github", timeout_s=20)
    nothing = dict.fromkeys(("release_tracker", "secret_manager", "mongodb", "atlas"))
    registry = written.registry.model_copy(update={"token": None})  # type: ignore[attr-defined]
    vendors = {"code_host": vendor, "tickets": vendor.model_copy(), "pagers": [], "channels": [], "registry": registry}
    metrics = Prometheus(url="http://127.0.0.1:9", bearer=given(bearer))
    return written.model_copy(update={**nothing, **vendors, "prometheus": metrics})


def at(seconds: float) -> str:
    """A time from now, as GitHub writes it."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + seconds))


async def problems(env: Environment, within_s: float = 7 * DAY_S) -> list[str]:
    """What is wrong with the tokens for so long from now."""
    return await token_problems(env, time.time() + within_s)


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S +0000", "%Y-%m-%dT%H:%M:%SZ"])
async def test_a_token_that_ends_too_soon_is_named_with_its_day(stand_ins: Any, form: str) -> None:
    """GitHub says it in a header of every answer; a token that is named twice is one problem."""
    ends = time.gmtime(time.time() + 3 * DAY_S)
    stand_ins.vendors.github.token_ends(time.strftime(form, ends))
    shown = time.strftime("%Y-%m-%d at %H:%M UTC", ends)
    assert await problems(await environment(stand_ins)) == [f"the worker's code_host.token expires on {shown}"]


async def test_a_token_that_lasts_and_one_without_an_end_are_well(stand_ins: Any) -> None:
    """A classic token, or that of an app, has none that GitHub would say."""
    env = await environment(stand_ins)
    assert await problems(env) == []
    stand_ins.vendors.github.token_ends(at(30 * DAY_S))
    assert await problems(env) == []


async def test_a_revoked_token_is_a_problem_and_not_silence(stand_ins: Any) -> None:
    """GitHub answers 401."""
    (found,) = await problems(await environment(stand_ins, token="wrong"))
    assert "the worker's code_host.token: GitHub" in found
    assert "401" in found


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 429}, {"garbage": True}])
async def test_a_vendor_that_is_away_cannot_tell(stand_ins: Any, fault: dict[str, Any]) -> None:
    """Asked again by the check, and then CANNOT TELL. So it is where another network's page answers."""
    stand_ins.vendors.fault("github", count=None, **fault)
    with pytest.raises(Transient):
        await problems(await environment(stand_ins))


async def test_an_end_that_is_no_time_cannot_tell(stand_ins: Any) -> None:
    """It is not taken for a token that never ends."""
    stand_ins.vendors.github.token_ends("next Tuesday")
    with pytest.raises(Transient, match="next Tuesday, which is no time"):
        await problems(await environment(stand_ins))


async def test_a_web_token_says_itself_when_it_ends(stand_ins: Any) -> None:
    """Such as one for Prometheus behind a proxy. Neither the token nor its claims are shown."""
    soon = jwt(exp=int(time.time() + DAY_S), sub="secret-name")
    (found,) = await problems(await environment(stand_ins, bearer=soon))
    assert found.startswith("the worker's prometheus.bearer expires on ")
    assert "secret-name" not in found
    assert await problems(await environment(stand_ins, bearer=jwt(exp=int(time.time() + 30 * DAY_S)))) == []


@pytest.mark.parametrize("exp", [None, "soon", True, -1, 1e30, [], {"a": 1}])
async def test_a_web_token_without_a_sensible_end_says_nothing(stand_ins: Any, exp: object) -> None:
    """Whether it is good is then seen when it is used."""
    assert await problems(await environment(stand_ins, bearer=jwt(exp=exp))) == []
