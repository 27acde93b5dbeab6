"""One canary answers nothing but errors."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted within seconds of the first user."""
    checks.reverted(result, because=checks.FAILED_RATIO)
    took_s = [result.seconds["onset_to_verdict"], result.seconds["verdict_to_reverted"]]
    users_s = sum(seconds or 0.0 for seconds in took_s)
    result.expect(None not in took_s and users_s < 20, f"users met the outage for {took_s} s, not for less than 20")


STORY = Scenario(
    name="total_outage",
    told="100 % 5xx",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=1"},
    then=then,
)
