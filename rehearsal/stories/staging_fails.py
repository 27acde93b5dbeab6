"""The version does not even pass staging."""

from rehearsal import checks
from rehearsal.story import Story

STORY = Story(
    name="staging_fails",
    told="smoke tests fail in staging",
    ends="Refused",
    staging_behaviours={"ethixai-backend": "smoke_fails"},
    then=checks.untouched,
)
