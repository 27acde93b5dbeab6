"""0.3 % of the canary's users meet an error, and nobody answers the question."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """The gate opened, nobody came, and silence means revert."""
    checks.reverted(tale, because="nobody answered")
    tale.expect(any("RELEASE HELD" in text for text in tale.words("slack")), "nobody was asked")


STORY = Story(
    name="marginal",
    told="exactly 0.3 % on the canary; nobody answers",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=0.003"},
    then=then,
)
