"""The version does not even pass staging."""

from rehearsal import checks
from rehearsal.scenario import Scenario

STORY = Scenario(
    name="staging_fails",
    told="smoke tests fail in staging",
    ends="Refused",
    staging_behaviours={"ethixai-backend": "smoke_fails"},
    then=checks.untouched,
)
