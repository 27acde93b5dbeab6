"""Three environments are released at once while each part of Prefect's side is killed: two API servers, the proxy, the
background services, Redis, PostgreSQL, and both workers' hosts."""

import asyncio
import contextlib
import json
import time

import httpx

from rehearsal import checks
from rehearsal.files import THIRD
from rehearsal.prefect_api import Run
from rehearsal.scale import NEEDS, Host, ScaledServer
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import SERVICES, SIGKILL, TestEnvironment

ENVIRONMENTS = ("production", "staging", THIRD)
AWAY_S = 20.0
SETTLE_S = 8.0
BACK_S = 90.0
PARTS = (("api-1", 2.0), ("api-2", 2.0), ("proxy", 2.0), ("services", 2.0), ("redis", AWAY_S), ("postgres", AWAY_S))
"""What is killed, and how long it is away."""
GOOD = "Promoted"


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Start the other environments' releases, kill each part in turn, and wait for every release's end."""
    server = test_env.server
    assert isinstance(server, ScaledServer)
    runs = {"production": run}
    for name in ENVIRONMENTS[1:]:
        asked = test_env.request(test_env.newest_version, "a rehearsed release")
        runs[name] = await test_env.prefect.start(f"release/{name}", {**asked, "environment": name})
    for name, one in runs.items():
        await test_env.until(one, "monitor")
        test_env.event(f"{name} bakes its canary.")
    for part, away_s in PARTS:
        test_env.event(f"killing {part}, which is away for {away_s:g} s")
        began_s = time.monotonic()
        await server.kill(part, away_s)
        await answering(test_env)
        test_env.event(f"{part} was killed; the API answers {time.monotonic() - began_s:.1f} s after the kill")
        for port in server.api_ports:
            await server.answers(port, BACK_S)
        await asyncio.sleep(SETTLE_S)
    problems = await still_running(test_env, runs, "before a host was killed")
    for host in server.hosts:
        problems += await host_dies(test_env, server, host)
    ends = [await ended(test_env, name, one) for name, one in runs.items()]
    problems += [problem for problem in ends if problem]
    problems += await done_twice(test_env)
    if problems:
        raise AssertionError("; ".join(problems))
    return await test_env.prefect.run(run.id)


async def answering(test_env: TestEnvironment) -> None:
    """The API answers a question that needs the database. Raises TimeoutError."""
    async with asyncio.timeout(BACK_S):
        while True:
            with contextlib.suppress(RuntimeError, httpx.HTTPError):
                await test_env.prefect.runs_of("release/production")
                break
            await asyncio.sleep(0.2)


async def still_running(test_env: TestEnvironment, runs: dict[str, Run], when: str) -> list[str]:
    """A sentence for each release that is not under way in its own run any more."""
    found = {name: await test_env.prefect.run(run.id) for name, run in runs.items()}
    return [f"{when}, {name} was {run.state}: {run.message}" for name, run in found.items() if run.is_over]


async def host_dies(test_env: TestEnvironment, server: ScaledServer, host: Host) -> list[str]:
    """SIGKILL to all that runs on a host, which stays away until its releases have been taken over elsewhere."""
    taken_before = {name: await test_env.prefect.take_overs(name) for name in ENVIRONMENTS}
    held = [name for name in ENVIRONMENTS if host.runs(await holder(test_env, name))]
    test_env.event(f"{SIGKILL}{host.name}, which runs {', '.join(held) or 'no release'}")
    killed_s, problems = time.time(), []
    await server.take_away(host.part.name)
    for name in held:
        try:
            took_s = await taken_over(test_env, name, taken_before[name]) - killed_s
        except TimeoutError:
            problems.append(f"{name} was not taken over after {host.name} was killed")
            continue
        test_env.event(f"{name} was taken over {took_s:.1f} s after its host was killed")
        if took_s > checks.HOST_DIED_S:
            problems.append(f"{name} was taken over {took_s:.1f} s after its host was killed")
    await server.bring_back(host.part.name)
    await asyncio.sleep(SETTLE_S)
    return problems


async def holder(test_env: TestEnvironment, name: str) -> str:
    """The flow run that holds the release of an environment, by the lease on its coordinator; or nothing."""
    found = await test_env.world.service(SERVICES[0], f"ethixai-{name}")
    return str(json.loads(found["annotations"].get(f"{checks.OURS}claim", "{}")).get("flow_run_id", "no run"))


async def taken_over(test_env: TestEnvironment, name: str, before: list[float]) -> float:
    """When a recovery took the release over that had not done so ``before``. Raises TimeoutError."""
    for _ in range(int((checks.HOST_DIED_S + SETTLE_S) / 0.5)):
        if new := [at_s for at_s in await test_env.prefect.take_overs(name) if at_s not in before]:
            return min(new)
        await asyncio.sleep(0.5)
    raise TimeoutError(f"{name} was not taken over")


async def ended(test_env: TestEnvironment, name: str, run: Run) -> str:
    """Why the release of this environment has no good end; empty where it has one, in its own run or in a recovery."""
    async with asyncio.timeout(SCENARIO.timeout_s):
        while True:
            recoveries = await test_env.prefect.runs_of(f"recovery/{name}")
            found = [await test_env.prefect.run(run.id), *recoveries]
            if any(one.state == GOOD for one in found):
                return ""
            if bad := [one for one in found if one.is_over and one.state not in ("Passed", "Crashed", "Fenced")]:
                return f"{name} ended {bad[0].state}: {bad[0].message}"
            await asyncio.sleep(1)


async def done_twice(test_env: TestEnvironment) -> list[str]:
    """A sentence for each thing that was done more often than once, or not at all, in any environment."""
    problems = []
    states = await test_env.world.state()
    for one in states:
        new = [name for name in one["revisions"] if test_env.newest_version.rsplit("-", 1)[-1] in name]
        shares = [target["revision"] for target in one["served"] if target["percent"]]
        where = f"{one['service']} in {one['project']}"
        if len(one["revisions"]) != 2:
            problems.append(f"{where} has {len(one['revisions'])} revisions, expected 2")
        if len(shares) != 1 or (new and shares != new):
            problems.append(f"{where} serves {shares}")
        if left := [key for key in one["annotations"] if key in (f"{checks.OURS}claim", f"{checks.OURS}member")]:
            problems.append(f"{where} still carries {left}")
    words = [str(one["body"]) for one in await test_env.world.vendor_calls("slack")]
    for text in ("🚀", "✅"):
        if (count := sum(text in word for word in words)) != len(ENVIRONMENTS):
            problems.append(f"{count} messages with {text}, expected {len(ENVIRONMENTS)}")
    deploys = [one for one in await test_env.world.vendor_calls("sentry") if one["path"].endswith("/deploys/")]
    if len(deploys) != len(ENVIRONMENTS):
        problems.append(f"Sentry has {len(deploys)} deploys, expected {len(ENVIRONMENTS)}")
    return problems


def then(result: ScenarioResult) -> None:
    """Every user of production is on the new revision."""
    checks.one_revision(result)


SCENARIO = Scenario(
    name="scaled",
    description="Three environments are released at once, and every part of Prefect's side is killed in turn.",
    ends=GOOD,
    recovery_ends=GOOD,
    users_per_s=25.0,
    meanwhile=meanwhile,
    then=then,
    needs=NEEDS,
    is_scaled=True,
    timeout_s=420.0,
)
