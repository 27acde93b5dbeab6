"""A new revision never becomes ready."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted, and production's traffic never moved."""
    checks.reverted(result, because=r"Cloud Run could not|did not start", met=False)
    checks.never_shifted(result)


STORY = Scenario(
    name="broken_start",
    told="a revision never becomes ready",
    ends="Reverted",
    behaviours={"ethixai-ai-core": "dies"},
    then=then,
)
