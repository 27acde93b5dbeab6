"""One canary answers a fifth of its requests with 401, which stable does not."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """A person was asked, told which signal is beyond its limit; nobody answered."""
    checks.reverted(result, because="No approval within")
    asked = " ".join(result.words("slack"))
    result.expect("RELEASE HELD" in asked, "no message about the gate")
    result.expect("Client errors (4xx)" in asked, "the message about the gate does not name the signal")


SCENARIO = Scenario(
    name="client_errors",
    description="The backend's canary answers 20 % of its requests with 401, and no person answers the gate.",
    ends="Reverted",
    behaviours={"ethixai-backend": "client_errors=0.2"},
    then=then,
)
