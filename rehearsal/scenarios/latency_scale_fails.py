"""The canary stays slow with more instances."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """More instances were added first, and the release was reverted when they did not help."""
    checks.reverted(result, because=checks.TOO_SLOW)
    result.expect(bool(result.steps_named("scale")), "no instances were added")


SCENARIO = Scenario(
    name="latency_scale_fails",
    description="The backend's p95 is above 5 s, and more instances do not lower it.",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=then,
)
