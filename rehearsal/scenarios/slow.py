"""One canary needs six seconds for an answer."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted because it is slow, after more instances were given and did not help."""
    checks.reverted(result, because=checks.TOO_SLOW)
    result.expect(bool(result.steps_named("scale ethixai-backend")), "more instances were not tried")


STORY = Scenario(
    name="slow",
    told="p95 above 5 s",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=then,
)
