"""0.3 % of the canary's users meet an error, and nobody answers the question."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """The gate opened, nobody came, and silence means revert."""
    checks.reverted(result, because="No approval within")
    result.expect(any("RELEASE HELD" in text for text in result.words("slack")), "nobody was asked")


STORY = Scenario(
    name="marginal",
    told="exactly 0.3 % on the canary; nobody answers",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=0.003"},
    then=then,
)
