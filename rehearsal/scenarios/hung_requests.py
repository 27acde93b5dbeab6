"""Most requests to one canary are never answered, so nothing counts them."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """A person was asked, told which signal is beyond its limit. No one answered, or Cloud Run ended the first of the
    hung requests with 504 meanwhile, which rolls back."""
    checks.reverted(result, because="No approval within|Cloud Run's own 5xx")
    asked = " ".join(result.words("slack"))
    result.expect("RELEASE HELD" in asked, "no message about the gate")
    result.expect("Completed requests" in asked, "the message about the gate does not name the signal")


SCENARIO = Scenario(
    name="hung_requests",
    description="Of the requests to the backend's canary 70 % are never answered, and no person answers the gate.",
    ends="Reverted",
    behaviours={"ethixai-backend": "hangs=0.7"},
    then=then,
)
