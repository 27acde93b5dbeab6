"""A new revision never becomes ready."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Reverted, and production's traffic never moved."""
    checks.reverted(tale, because=r"Cloud Run could not|did not start", met=False)
    checks.never_shifted(tale)


STORY = Story(
    name="broken_start",
    told="a revision never becomes ready",
    ends="Reverted",
    behaviours={"ethixai-ai-core": "dies"},
    then=then,
)
