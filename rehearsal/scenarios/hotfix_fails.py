"""A hotfix answers 5 % of everybody with an error: its first minutes take it back."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import hotfix


def then(result: ScenarioResult) -> None:
    """Everybody had it, and is back without a person."""
    checks.back(result)
    checks.told_once(result, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")
    checks.told_once(result, "github", "Production hotfix rolled back")
    promoted = result.steps_named("promote")
    result.expect(len(promoted) >= 3, "it never reached everybody")


STORY = Scenario(
    name="hotfix_fails",
    told="the fix is bad: taken back by itself",
    ends="Reverted",
    behaviours={"ethixai-backend": "patched,errors=0.05"},
    starts=hotfix.starts,
    then=then,
)
