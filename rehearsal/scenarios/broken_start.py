"""A new revision never becomes ready."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted, and no production user was sent to a new revision."""
    checks.reverted(result, because=r"Cloud Run could not|did not start", met=False)
    checks.never_shifted(result)


SCENARIO = Scenario(
    name="broken_start",
    description="The ai-core's new revision never becomes ready.",
    ends="Reverted",
    behaviours={"ethixai-ai-core": "dies"},
    then=then,
)
