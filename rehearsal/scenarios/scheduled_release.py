"""The schedule fires: the run finds the version that passed staging last, and releases it to production."""

import asyncio
import time

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment

AHEAD_S, WAIT_S = 70, 210
"""How long before its time the schedule is changed, at least, and how long its run is waited for at most. The server
looks once a minute for schedules that a person has changed, and makes no runs of a time that is over."""


def starts(test_env: TestEnvironment, version: str) -> Start:
    """What a merge to main starts: the version passes staging."""
    return "release/staging", {"request": {"version": version, "requested_by": "rehearsal"}, "environment": "staging"}


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Let the weekly schedule fire in the next minutes, once, and follow the run that the server starts."""
    staged = await test_env.prefect.wait(run.id, 120)
    test_env.event(f"Staging: {staged.state}.")
    at = time.gmtime(time.time() + AHEAD_S + 60)
    weekly = await test_env.prefect.schedule("release/production", time.strftime("%M %H %d %m *", at))
    test_env.event(f"The schedule is {weekly} no more; it fires at {time.strftime('%H:%M', at)} UTC.")
    try:
        scheduled = await fired(test_env, run.created_at_s)
    finally:
        await test_env.prefect.schedule("release/production", weekly)
    test_env.event(f"The schedule has started {scheduled.name}.")
    return await test_env.prefect.wait(scheduled.id, SCENARIO.timeout_s)


async def fired(test_env: TestEnvironment, since_s: float) -> Run:
    """The run of release/production that has started since. Raises TimeoutError."""
    for _ in range(WAIT_S):
        for run in await test_env.prefect.runs_of("release/production"):
            if run.started_at_s is not None and run.started_at_s > since_s:
                return run
        await asyncio.sleep(1)
    raise TimeoutError(f"the schedule started no run of release/production within {WAIT_S} s")


def then(result: ScenarioResult) -> None:
    """Promoted, with the version of staging, though no person and no request named it."""
    checks.promoted(result)
    told = [text for text in result.words("slack") if "Production release starting" in text]
    result.expect(any(result.run.name.split()[1] in text for text in told), f"{result.run.name}: {told}")


SCENARIO = Scenario(
    name="scheduled_release",
    description="The weekly schedule fires, and the run finds what passed staging and releases it.",
    ends="Promoted",
    starts=starts,
    meanwhile=meanwhile,
    then=then,
    timeout_s=300,
)
