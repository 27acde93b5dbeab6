"""One canary is many times slower than stable, and faster than 2 s."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """A person was asked, told which signal is beyond its limit; nobody answered."""
    checks.reverted(result, because="No approval within")
    asked = " ".join(result.words("slack"))
    result.expect("RELEASE HELD" in asked, "no message about the gate")
    result.expect("Latency against stable" in asked, "the message about the gate does not name the signal")


SCENARIO = Scenario(
    name="slower_than_stable",
    description="Half of the backend's canary requests take 0.4 s, stable's 3 ms, and no person answers the gate.",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=0.4@0.5"},
    then=then,
)
