"""One instance is too slow for its load, and more instances are fast enough."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Promoted after more instances were added, and a message says so."""
    checks.promoted(result)
    result.expect(
        any("now keeps at least 13 instances" in text for text in result.words("slack")),
        "no message about the added instances",
    )


SCENARIO = Scenario(
    name="latency_scale",
    description="The backend's p95 is above 5 s, and more instances lower it.",
    ends="Promoted",
    behaviours={"ethixai-backend": "crowded=9:6"},
    then=then,
)
