"""The canary leaks memory until the platform kills it."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Reverted because of the kill."""
    checks.reverted(tale, because="killed for lack of memory")


STORY = Story(
    name="memory_leak",
    told="OOM kills",
    ends="Reverted",
    behaviours={"ethixai-ai-core": "leak=60"},
    then=then,
)
