"""One canary needs six seconds for an answer."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Reverted because it is slow, after more instances were given and did not help."""
    checks.reverted(tale, because=checks.TOO_SLOW)
    tale.expect(bool(tale.steps_named("scale ethixai-backend")), "more instances were not tried")


STORY = Story(
    name="slow",
    told="p95 above 5 s",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=then,
)
