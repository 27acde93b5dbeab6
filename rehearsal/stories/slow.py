"""One canary needs six seconds for an answer."""

from rehearsal import checks
from rehearsal.story import Story

STORY = Story(
    name="slow",
    told="p95 above 5 s",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=checks.reverted,
)
