"""There are no users, so nothing can be known."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted at the deadline, because there was no evidence: no data never promotes."""
    checks.reverted(result, because="No evidence", met=False)
    monitored = [step.ended_at_s - step.started_at_s for step in result.steps_named("monitor")]
    result.expect(bool(monitored) and monitored[0] > 50, "it was decided before the bake's deadline")


STORY = Scenario(name="no_traffic", told="no users", ends="Reverted", users_per_s=0, then=then)
