"""Slow however many instances there are."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Scaled first, reverted when that did not help."""
    checks.reverted(result, because=checks.TOO_SLOW)
    result.expect(bool(result.steps_named("scale")), "more instances were not tried")


STORY = Scenario(
    name="latency_scale_fails",
    told="p95 above 5 s, more instances do not help",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=then,
)
