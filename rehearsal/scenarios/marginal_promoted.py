"""0.3 % of the canary's users meet an error, and a person takes the responsibility."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

ANSWER = {"choice": "promote", "approver": "Ada", "reason": "known and harmless", "minutes": 0, "percent": 0}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Somebody answers through the API, as the UI's form does."""
    await test_env.until_state(run, "PAUSED")
    test_env.event(f"Ada answers: {await test_env.prefect.answer(run.id, ANSWER)}")


def then(result: ScenarioResult) -> None:
    """Promoted, and who and why are written down."""
    checks.promoted(result)
    kept = any("Ada decided to promote: known and harmless" in step.name for step in result.steps)
    result.expect(kept, "who decided and why is not kept")
    checks.told_once(result, "slack", "Ada decided to promote: known and harmless")


STORY = Scenario(
    name="marginal_promoted",
    told="exactly 0.3 % on the canary; a person answers through the API as the UI does",
    ends="Promoted",
    behaviours={"ethixai-backend": "errors=0.003"},
    meanwhile=meanwhile,
    then=then,
)
