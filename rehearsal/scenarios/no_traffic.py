"""There are no users, so there is no evidence: health checks and scrapes are counted, and are none."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted at the end of the bake for lack of evidence: no data never promotes."""
    checks.reverted(result, because="No evidence", met=False)
    monitored = [step.ended_at_s - step.started_at_s for step in result.steps_named("monitor")]
    result.expect(bool(monitored) and monitored[0] > 50, "the verdict came before the end of the bake")


SCENARIO = Scenario(
    name="no_traffic",
    description="There are no users, so the judge has no evidence.",
    ends="Reverted",
    users_per_s=0,
    then=then,
)
