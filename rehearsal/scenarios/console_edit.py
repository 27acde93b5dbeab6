"""A person changes one service's traffic in the console during the bake."""

import asyncio

from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

TOUCHED = "ethixai-frontend"
THEIRS = {"ethixai-frontend-00031-xyz": 100}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Send all users of the frontend back to the old revision, as a person does in the console."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    traffic = [{"revision": revision, "percent": share} for revision, share in THEIRS.items()]
    await test_env.world.out_of_band(test_env.world.find(TOUCHED), traffic)
    test_env.event(f"A person changes the traffic of {TOUCHED}.")


def then(result: ScenarioResult) -> None:
    """The changed service stays as the person set it, the others are on stable, and the message says who changed it."""
    result.expect(
        result.after[TOUCHED] == THEIRS, f"{TOUCHED} serves {result.after[TOUCHED]}, expected what the person set"
    )
    for service in set(result.before) - {TOUCHED}:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
    result.expect(
        any("INTERRUPTED" in text for text in result.words("slack")), "no message about the interruption in #releases"
    )
    result.expect(
        "person@ethixai.example" in result.run.message, f"the outcome does not name the person: {result.run.message}"
    )


SCENARIO = Scenario(
    name="console_edit",
    description="A person changes one service's traffic in the console during the bake.",
    ends="Interrupted",
    meanwhile=meanwhile,
    then=then,
)
