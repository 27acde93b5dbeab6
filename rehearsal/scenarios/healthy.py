"""Nothing is wrong: the release reaches everybody and no user notices."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Promoted, told in the playbook's words, not one of at least 2,000 requests failed."""
    checks.promoted(result)
    checks.watched(result)
    checks.untroubled(result, least=2000)


STORY = Scenario(name="healthy", told="nothing wrong", ends="Promoted", then=then)
