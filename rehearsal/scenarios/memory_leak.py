"""The canary leaks memory until the platform kills it."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted because of the kill."""
    checks.reverted(result, because="killed for lack of memory")


STORY = Scenario(
    name="memory_leak",
    told="OOM kills",
    ends="Reverted",
    behaviours={"ethixai-ai-core": "leak=60"},
    then=then,
)
