"""A person takes users back during the bake with gcloud, by the commands that stand in the channel's start message."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import SERVICES, TestEnvironment
from rehearsal.world.gcloud import commands_in, run_text


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """The text of the message is pasted into a shell in which gcloud works on the rehearsal."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    calls = await test_env.world.vendor_calls("slack")
    text = next(str(one["body"]["text"]) for one in calls if "Production release starting" in str(one["body"]))
    for command in commands_in(text):
        status, said = await run_text(command, test_env.world.gcloud_environ)
        test_env.event(f"{command}: {'done' if status == 0 else said.strip().splitlines()[-1]}")


def then(result: ScenarioResult) -> None:
    """Every user is where the person sent them, and the release has stepped back and says who changed what."""
    for service in SERVICES:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
    commands = [event for _, event in result.events if event.startswith("gcloud ")]
    result.expect(len(commands) == len(SERVICES), f"{len(commands)} commands, expected one for each service")
    done = [command for command in commands[:1] if command.endswith(": done")]
    result.expect(bool(done), f"gcloud could not: {commands[:1]}")
    result.expect(any("INTERRUPTED" in text for text in result.words("slack")), "#releases was not told")
    named = [service for service in SERVICES if service in result.run.message]
    result.expect(bool(named), f"the outcome names no service: {result.run.message}")
    checks.one_revision(result)


SCENARIO = Scenario(
    name="gcloud_by_hand",
    description="A person rolls back with the installed gcloud during the bake, by the start message's commands.",
    ends="Interrupted",
    needs="gcloud",
    meanwhile=meanwhile,
    then=then,
)
