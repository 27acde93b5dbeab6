"""One canary takes 6 s for each answer."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted for its latency, after more instances had not helped."""
    checks.reverted(result, because=checks.TOO_SLOW)
    result.expect(bool(result.steps_named("scale ethixai-backend")), "no instances were added")


SCENARIO = Scenario(
    name="slow",
    description="The backend's canary takes 6 s for each answer.",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=then,
)
