"""Slow however many instances there are."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Scaled first, reverted when that did not help."""
    checks.reverted(tale, because=checks.TOO_SLOW)
    tale.expect(bool(tale.steps_named("scale")), "more instances were not tried")


STORY = Story(
    name="latency_scale_fails",
    told="p95 above 5 s, more instances do not help",
    ends="Reverted",
    behaviours={"ethixai-backend": "slow=6"},
    then=then,
)
