"""0.3 % of the canary's users meet an error, and a person takes the responsibility."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale

ANSWER = {"choice": "promote", "approver": "Ada", "reason": "known and harmless", "minutes": 0, "percent": 0}


async def meanwhile(stage: Stage, run: Run) -> None:
    """Somebody answers through the API, as the UI's form does."""
    await stage.until_state(run, "PAUSED")
    stage.event(f"Ada answers: {await stage.prefect.answer(run.id, ANSWER)}")


def then(tale: Tale) -> None:
    """Promoted, and who and why are written down."""
    checks.promoted(tale)
    kept = any("Ada decided to promote: known and harmless" in step.name for step in tale.steps)
    tale.expect(kept, "who decided and why is not kept")
    checks.told_once(tale, "slack", "Ada decided to promote: known and harmless")


STORY = Story(
    name="marginal_promoted",
    told="exactly 0.3 % on the canary; a person answers through the API as the UI does",
    ends="Promoted",
    behaviours={"ethixai-backend": "errors=0.003"},
    meanwhile=meanwhile,
    then=then,
)
