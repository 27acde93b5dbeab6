"""The process dies while a person is asked: they are asked again, until the deadline they had."""

import asyncio
import json

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale

ANSWER = {"choice": "promote", "approver": "Ada", "reason": "known and harmless", "minutes": 0, "percent": 0}
DEADLINE_S = 60
"""Longer than the compressed policy's 20: it outlasts the silence after which a process is known to be lost."""
OPEN = "the gate is open until "


async def given(stage: Stage) -> None:
    """A person has longer than usual."""
    await stage.policy(f"gate_deadline_s = {DEADLINE_S}\n")


async def meanwhile(stage: Stage, run: Run) -> None:
    """SIGKILL of the process that asks; whoever takes over asks again, and there somebody answers, as in the UI."""
    await stage.until_state(run, "PAUSED")
    await note_deadline(stage)
    stage.kill(run)
    asking = await asking_again(stage, run)
    await note_deadline(stage)
    stage.event(f"Ada answers: {await stage.prefect.answer(asking.id, ANSWER)}")


async def asking_again(stage: Stage, killed: Run) -> Run:
    """The recovery that asks in the killed release's place. Raises TimeoutError."""
    for _ in range(DEADLINE_S):
        for run in await stage.prefect.runs_of("recovery/production"):
            if run.created_at_s >= killed.created_at_s and run.state_type == "PAUSED":
                return run
        await asyncio.sleep(1)
    raise TimeoutError(f"no recovery of {killed.name} has asked within {DEADLINE_S} s")


async def note_deadline(stage: Stage) -> None:
    """The gate's deadline, as the claim on the lead has it, is in the timeline."""
    annotations = (await stage.world.service("ethixai-ai-core"))["annotations"]
    stage.event(f"{OPEN}{json.loads(annotations[checks.OURS + 'claim'])['gate_deadline_s']}")


def then(tale: Tale) -> None:
    """Promoted by the person's word, within the deadline they had from the first; who and why is told."""
    checks.promoted(tale)
    checks.taken_over_within(tale, checks.HOST_DIED_S)
    deadlines = [text for _, text in tale.events if text.startswith(OPEN)]
    tale.expect(len(deadlines) == 2 and len(set(deadlines)) == 1, f"the deadline moved: {'; '.join(deadlines)}")
    checks.told_once(tale, "slack", "Ada decided to promote: known and harmless")


STORY = Story(
    name="killed_at_gate",
    told="SIGKILL while a person is asked; they answer the recovery",
    ends="Promoted",
    recovery_ends="Promoted",
    behaviours={"ethixai-frontend": "errors=0.003"},  # of this one a person is asked before anything is probed
    given=given,
    meanwhile=meanwhile,
    then=then,
)
