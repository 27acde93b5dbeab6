"""The version fails its smoke tests in staging."""

from rehearsal import checks
from rehearsal.scenario import Scenario

SCENARIO = Scenario(
    name="staging_fails",
    description="The version fails its smoke tests in staging.",
    ends="Refused",
    staging_behaviours={"ethixai-backend": "smoke_fails"},
    then=checks.untouched,
)
