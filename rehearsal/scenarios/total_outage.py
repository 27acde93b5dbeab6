"""One canary answers every request with an error."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted less than 20 s after the canary's first user."""
    checks.reverted(result, because=checks.FAILED_RATIO)
    took_s = [result.seconds["onset_to_verdict"], result.seconds["verdict_to_reverted"]]
    users_s = sum(seconds or 0.0 for seconds in took_s)
    result.expect(
        None not in took_s and users_s < 20,
        f"the outage lasted {took_s} s (onset to verdict, verdict to reverted), expected less than 20 s",
    )


SCENARIO = Scenario(
    name="total_outage",
    description="The backend's canary answers every request with 5xx.",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=1"},
    then=then,
)
