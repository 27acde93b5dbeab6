"""A healthy version is promoted, and no user request fails."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Promoted with the playbook's messages; none of at least 2,000 requests failed."""
    checks.promoted(result)
    checks.watched(result)
    checks.no_failed_requests(result, least=2000)


SCENARIO = Scenario(name="healthy", description="A healthy version is released.", ends="Promoted", then=then)
