"""Runs one scenario in a test environment and checks how it ended."""

import asyncio
import sys
import time

import httpx

from rehearsal import checks
from rehearsal.prefect_api import PrefectApi, Run
from rehearsal.report import BakePrinter, PhasePrinter
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import PRODUCTION, SERVICES, TestEnvironment, sums

PRINT_EVERY_S = 1.0
NOT_THE_END = ("Passed", "Crashed", "Cancelled", "Fenced")
"""Ends of a recovery that had nothing to do, died itself, or gave way to a newer one."""


async def run_scenario(test_env: TestEnvironment, scenario: Scenario) -> ScenarioResult:
    """Run ``scenario`` from a clean state and check how it ended.

    One that needs a program which is not here is skipped.
    """
    if scenario.lacks:
        result = ScenarioResult.skip(scenario, scenario.lacks)
        test_env.say(f"{scenario.name}: SKIPPED. {result.skipped}")
        return result
    await test_env.clean(scenario.users_per_s)
    version = test_env.new_version()
    await test_env.publish(version, scenario.behaviours, scenario.staging_behaviours)
    before = await test_env.world.served()
    await scenario.given(test_env)
    await test_env.users.reset()  # from here on the release is responsible for what users see
    began_s = time.time()
    test_env.say(f"{scenario.name}: {scenario.description} Expected outcome: {scenario.ends}.")
    run = await test_env.prefect.start(*scenario.starts(test_env, version), due_s_ago=scenario.due_s_ago)
    test_env.say(f"  {test_env.server.ui_url}/v2/runs/flow-run/{run.id}")
    recovery: Run | None = None
    printing = asyncio.create_task(_print_steps(test_env, run.id))
    problems: list[str] = []
    try:
        run = await scenario.meanwhile(test_env, run) or run
        if scenario.is_forgotten:
            pass
        elif scenario.recovery_ends:  # the run itself may never end: its host is gone
            recovery = await _recovery_since(test_env.prefect, began_s, scenario.timeout_s)
            run = await test_env.prefect.run(run.id)
        else:
            run = await test_env.prefect.wait(run.id, scenario.timeout_s)
    except (TimeoutError, RuntimeError, AssertionError) as error:  # the result shows how far the run came
        problems.append(f"{type(error).__name__}: {error}")
        run = run if scenario.is_forgotten else await test_env.prefect.run(run.id)
    finally:
        printing.cancel()
    result = await _collect(test_env, scenario, run, recovery, before, began_s)
    result.wrong += problems
    checks.common(result)
    scenario.then(result)
    verdict = "Passed" if result.passed else f"FAILED: {'; '.join(result.wrong)}"
    test_env.say(f"  {verdict} after {time.time() - began_s:.1f} s. Outcome: {result.outcome}.")
    return result


async def _recovery_since(prefect: PrefectApi, began_s: float, timeout_s: float) -> Run:
    """The first recovery run since ``began_s`` that had work to do, once it has ended. Raises TimeoutError."""
    for _ in range(int(timeout_s)):
        for run in await prefect.runs_of("recovery/production"):
            if run.created_at_s >= began_s and run.is_over and run.state not in NOT_THE_END:
                return run
        await asyncio.sleep(1)
    raise TimeoutError(f"no recovery run ended within {timeout_s:.0f} s")


async def _collect(
    test_env: TestEnvironment,
    scenario: Scenario,
    run: Run,
    recovery: Run | None,
    before: dict[str, dict[str, int]],
    began_s: float,
) -> ScenarioResult:
    prefect, world = test_env.prefect, test_env.world
    requests, counted_s = sums(await test_env.users.counts()), time.time() - began_s
    states = {one["service"]: one for one in await world.state() if one["project"] == PRODUCTION}
    runs = [one for one in (run, recovery) if one]
    return ScenarioResult(
        scenario=scenario,
        run=run,
        recovery=recovery,
        steps=[step for one in runs for step in await prefect.steps(one.id)],
        logs=[line for one in runs for line in await prefect.logs(one.id)],
        writes=await world.writes(),
        vendor_calls=await world.vendor_calls(),
        before=before,
        after=await world.served(),
        annotations={name: one["annotations"] for name, one in states.items()},
        tags={name: one["tags"] for name, one in states.items()},
        requests=requests,
        due=scenario.users_per_s * len(SERVICES) * counted_s,
        watches=sum(one.created_at_s >= began_s for one in await prefect.runs_of("watch/production")),
        mongodb_uri=world.mongodb_uri,
        restored_uri=world.restored_uri,
        events=list(test_env.events),
    )


async def _print_steps(test_env: TestEnvironment, run_id: str) -> None:
    """Print each step of the run as it ends, under its environment and phase."""
    printer = PhasePrinter(test_env.say, time.time())
    bakes = BakePrinter(test_env.say, is_terminal=sys.stdout.isatty())
    while True:
        await asyncio.sleep(PRINT_EVERY_S)
        try:
            steps, writes = await test_env.prefect.steps(run_id), await test_env.world.writes()
        except (RuntimeError, httpx.HTTPError):
            continue  # a scenario may take Prefect away
        if printer.has_news(steps):
            bakes.end()
        printer.show(steps, writes)
        bakes.show(await test_env.prefect.bake(run_id), time.time())
