"""Five requests a second: too few to know anything."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Never silent: one service is held, one is probed at its tag URL, for one a person is asked; silence reverts."""
    checks.reverted(result, because="No approval within")
    held = result.steps_named("report: ethixai-ai-core: INCONCLUSIVE")
    result.expect(bool(held), "ai-core was not held for want of requests")
    result.expect(("ethixai-ai-core", 100) not in result.shifts(), "ai-core was promoted without evidence")
    result.expect(bool(result.steps_named("probe ethixai-backend")), "the backend was not probed")
    result.expect(any("RELEASE HELD" in text for text in result.words("slack")), "nobody was asked")


STORY = Scenario(name="low_traffic", told="5 requests/s", ends="Reverted", users_per_s=5, then=then)
