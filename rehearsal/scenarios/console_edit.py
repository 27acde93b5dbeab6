"""Somebody moves a service's traffic by hand in the middle of the bake."""

import asyncio

from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

TOUCHED = "ethixai-frontend"
THEIRS = {"ethixai-frontend-00031-xyz": 100}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """In the console, all users of the frontend go back to the old revision."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    traffic = [{"revision": revision, "percent": share} for revision, share in THEIRS.items()]
    await test_env.world.out_of_band(test_env.world.find(TOUCHED), traffic)
    test_env.event(f"a person moves the traffic of {TOUCHED}")


def then(result: ScenarioResult) -> None:
    """What the person touched stays as they left it; the others are on stable; both sides were told."""
    result.expect(result.after[TOUCHED] == THEIRS, f"{TOUCHED} serves {result.after[TOUCHED]}, not what the person set")
    for service in set(result.before) - {TOUCHED}:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
    result.expect(any("INTERRUPTED" in text for text in result.words("slack")), "#releases was not told")
    result.expect("person@ethixai.example" in result.run.message, f"it does not say who: {result.run.message}")


STORY = Scenario(
    name="console_edit",
    told="a person moves one service's traffic mid-bake",
    ends="Interrupted",
    meanwhile=meanwhile,
    then=then,
)
