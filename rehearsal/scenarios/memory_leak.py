"""The canary leaks memory until Cloud Run kills its instances."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted because an instance was killed for lack of memory."""
    checks.reverted(result, because="killed for lack of memory")


SCENARIO = Scenario(
    name="memory_leak",
    description="The ai-core's canary leaks memory until its instances are killed.",
    ends="Reverted",
    behaviours={"ethixai-ai-core": "leak=60"},
    then=then,
)
