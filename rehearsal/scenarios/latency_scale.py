"""One instance cannot keep up; more can."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Promoted after more instances were given, and that was told."""
    checks.promoted(result)
    result.expect(
        any("now keeps at least 13 instances" in text for text in result.words("slack")), "the scaling was not told"
    )


STORY = Scenario(
    name="latency_scale",
    told="p95 above 5 s, more instances help",
    ends="Promoted",
    behaviours={"ethixai-backend": "crowded=9:6"},
    then=then,
)
