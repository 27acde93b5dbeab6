"""Users send 5 requests/s, too few for the judge to decide."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """One service is held, one is probed at its tag URL, one opens a gate; the unanswered gate reverts."""
    checks.reverted(result, because="No approval within")
    held = any("ethixai-ai-core: INCONCLUSIVE" in line for line in result.logs)
    result.expect(held, "ai-core was not held for too few requests")
    result.expect(("ethixai-ai-core", 100) not in result.shifts(), "ai-core was promoted without evidence")
    result.expect(bool(result.steps_named("probe ethixai-backend")), "the backend was not probed")
    result.expect(any("RELEASE HELD" in text for text in result.words("slack")), "no message about the gate")


SCENARIO = Scenario(
    name="low_traffic",
    description="Users send 5 requests/s, too few for a decision, and no person answers the gate.",
    ends="Reverted",
    users_per_s=5,
    then=then,
)
