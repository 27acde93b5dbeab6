"""One canary answers 5 % of its requests with an error."""

from functools import partial

from rehearsal import checks
from rehearsal.scenario import Scenario

SCENARIO = Scenario(
    name="breach",
    description="The backend's canary answers 5 % of its requests with 5xx.",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=0.05"},
    then=partial(checks.reverted, because=checks.FAILED_RATIO),
)
