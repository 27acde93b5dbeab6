"""A hotfix answers 5 % of everybody with an error: its first minutes take it back."""

from rehearsal import checks
from rehearsal.stories import hotfix
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Everybody had it, and is back without a person."""
    checks.back(tale)
    checks.told_once(tale, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")
    checks.told_once(tale, "github", "Production hotfix rolled back")
    promoted = tale.steps_named("promote")
    tale.expect(len(promoted) >= 3, "it never reached everybody")


STORY = Story(
    name="hotfix_fails",
    told="the fix is bad: taken back by itself",
    ends="Reverted",
    behaviours={"ethixai-backend": "patched,errors=0.05"},
    starts=hotfix.starts,
    then=then,
)
