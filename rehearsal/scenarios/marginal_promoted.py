"""The canary fails 0.3 % of its requests, and a person decides to promote it."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

ANSWER = {"choice": "promote", "approver": "Ada", "reason": "known and harmless"}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Answer the gate through the API, as the form in the UI does."""
    await test_env.until_state(run, "PAUSED")
    test_env.event(f"Ada answers; Prefect says {await test_env.prefect.answer(run.id, ANSWER)}")


def then(result: ScenarioResult) -> None:
    """Promoted; the run and a message say who decided and why."""
    checks.promoted(result)
    kept = any("Ada decided to promote: known and harmless" in line for line in result.logs)
    result.expect(kept, "no line of the log says who decided and why")
    checks.sent_once(result, "slack", "Ada decided to promote: known and harmless")


SCENARIO = Scenario(
    name="marginal_promoted",
    description="The backend's canary fails 0.3 % of its requests, and a person decides to promote it.",
    ends="Promoted",
    behaviours={"ethixai-backend": "errors=0.003"},
    meanwhile=meanwhile,
    then=then,
)
