"""The release's process is killed while a gate is open: recovery opens the gate again, with the same deadline."""

import asyncio
import json

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

ANSWER = {"choice": "promote", "approver": "Ada", "reason": "known and harmless"}
DEADLINE_S = 60
"""Longer than the compressed policy's 20 s: recovery starts only after 30 s without heartbeat."""
OPEN = "The gate is open until "


async def given(test_env: TestEnvironment) -> None:
    """The gate's deadline is longer than usual."""
    await test_env.policy(f"gate_deadline_s = {DEADLINE_S}\n")


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Kill the process at the gate, then answer the gate that recovery opens, as a person does in the UI."""
    await test_env.until_state(run, "PAUSED")
    await note_deadline(test_env)
    test_env.kill(run)
    asking = await asking_again(test_env, run)
    await note_deadline(test_env)
    test_env.event(f"Ada answers; Prefect says {await test_env.prefect.answer(asking.id, ANSWER)}")


async def asking_again(test_env: TestEnvironment, killed: Run) -> Run:
    """The recovery run that opens the gate of the killed release again. Raises TimeoutError."""
    for _ in range(DEADLINE_S):
        for run in await test_env.prefect.runs_of("recovery/production"):
            if run.created_at_s >= killed.created_at_s and run.state_type == "PAUSED":
                return run
        await asyncio.sleep(1)
    raise TimeoutError(f"no recovery of {killed.name} opened a gate within {DEADLINE_S} s")


async def note_deadline(test_env: TestEnvironment) -> None:
    """Add the gate's deadline to the timeline, as the lease on the coordinator has it."""
    annotations = (await test_env.world.service("ethixai-ai-core"))["annotations"]
    test_env.event(f"{OPEN}{json.loads(annotations[checks.OURS + 'claim'])['gate_deadline_s']}")


def then(result: ScenarioResult) -> None:
    """Promoted by the person's decision, under the first deadline; a message says who decided and why."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.HOST_DIED_S)
    deadlines = [text for _, text in result.events if text.startswith(OPEN)]
    result.expect(
        len(deadlines) == 2 and len(set(deadlines)) == 1, f"the gate's deadline changed: {'; '.join(deadlines)}"
    )
    checks.sent_once(result, "slack", "Ada decided to promote: known and harmless")


SCENARIO = Scenario(
    name="killed_at_gate",
    description="The release's process is killed while a gate is open, and a person answers the gate of the recovery.",
    ends="Promoted",
    recovery_ends="Promoted",
    behaviours={"ethixai-frontend": "errors=0.003"},
    given=given,
    meanwhile=meanwhile,
    then=then,
)
