"""A hotfix answers 5 % of all requests with an error, and is reverted in its first minutes."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import hotfix


def then(result: ScenarioResult) -> None:
    """All users had the hotfix, and it was reverted without a person."""
    checks.unchanged(result)
    checks.sent_once(result, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")
    checks.sent_once(result, "github", "Production hotfix rolled back")
    promoted = result.steps_named("promote")
    result.expect(len(promoted) >= 3, "the hotfix was not promoted on all three services")


SCENARIO = Scenario(
    name="hotfix_fails",
    description="A hotfix fails 5 % of all requests and is reverted automatically.",
    ends="Reverted",
    behaviours={"ethixai-backend": "patched,errors=0.05"},
    starts=hotfix.starts,
    then=then,
)
