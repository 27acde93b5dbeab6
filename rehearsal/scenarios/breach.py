"""One canary answers 5 % of its users with an error."""

from functools import partial

from rehearsal import checks
from rehearsal.scenario import Scenario

STORY = Scenario(
    name="breach",
    told="one canary answers 5 % 5xx",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=0.05"},
    then=partial(checks.reverted, because=checks.FAILED_RATIO),
)
