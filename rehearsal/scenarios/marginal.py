"""The canary fails 0.3 % of its requests, and no person answers the gate."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """The gate opened, and the release was reverted at its deadline."""
    checks.reverted(result, because="No approval within")
    result.expect(any("RELEASE HELD" in text for text in result.words("slack")), "no message about the gate")


SCENARIO = Scenario(
    name="marginal",
    description="The backend's canary fails 0.3 % of its requests, and no person answers the gate.",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=0.003"},
    then=then,
)
