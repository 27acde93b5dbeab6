"""The process dies while a person is asked: they are asked again, until the deadline they had."""

import asyncio
import json

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

ANSWER = {"choice": "promote", "approver": "Ada", "reason": "known and harmless", "minutes": 0, "percent": 0}
DEADLINE_S = 60
"""Longer than the compressed policy's 20: it outlasts the silence after which a process is known to be lost."""
OPEN = "the gate is open until "


async def given(test_env: TestEnvironment) -> None:
    """A person has longer than usual."""
    await test_env.policy(f"gate_deadline_s = {DEADLINE_S}\n")


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """SIGKILL of the process that asks; whoever takes over asks again, and there somebody answers, as in the UI."""
    await test_env.until_state(run, "PAUSED")
    await note_deadline(test_env)
    test_env.kill(run)
    asking = await asking_again(test_env, run)
    await note_deadline(test_env)
    test_env.event(f"Ada answers: {await test_env.prefect.answer(asking.id, ANSWER)}")


async def asking_again(test_env: TestEnvironment, killed: Run) -> Run:
    """The recovery that asks in the killed release's place. Raises TimeoutError."""
    for _ in range(DEADLINE_S):
        for run in await test_env.prefect.runs_of("recovery/production"):
            if run.created_at_s >= killed.created_at_s and run.state_type == "PAUSED":
                return run
        await asyncio.sleep(1)
    raise TimeoutError(f"no recovery of {killed.name} has asked within {DEADLINE_S} s")


async def note_deadline(test_env: TestEnvironment) -> None:
    """The gate's deadline, as the claim on the lead has it, is in the timeline."""
    annotations = (await test_env.world.service("ethixai-ai-core"))["annotations"]
    test_env.event(f"{OPEN}{json.loads(annotations[checks.OURS + 'lease'])['gate_deadline_s']}")


def then(result: ScenarioResult) -> None:
    """Promoted by the person's word, within the deadline they had from the first; who and why is told."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.HOST_DIED_S)
    deadlines = [text for _, text in result.events if text.startswith(OPEN)]
    result.expect(len(deadlines) == 2 and len(set(deadlines)) == 1, f"the deadline moved: {'; '.join(deadlines)}")
    checks.told_once(result, "slack", "Ada decided to promote: known and harmless")


STORY = Scenario(
    name="killed_at_gate",
    told="SIGKILL while a person is asked; they answer the recovery",
    ends="Promoted",
    recovery_ends="Promoted",
    behaviours={"ethixai-frontend": "errors=0.003"},  # of this one a person is asked before anything is probed
    given=given,
    meanwhile=meanwhile,
    then=then,
)
