"""Five requests a second: too few to know anything."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Never silent: one service is held, one is probed at its tag URL, for one a person is asked; silence reverts."""
    checks.reverted(tale, because="nobody answered")
    held = tale.steps_named("report: ethixai-ai-core: INCONCLUSIVE")
    tale.expect(bool(held), "ai-core was not held for want of requests")
    tale.expect(("ethixai-ai-core", 100) not in tale.shifts(), "ai-core was promoted without evidence")
    tale.expect(bool(tale.steps_named("probe ethixai-backend")), "the backend was not probed")
    tale.expect(any("RELEASE HELD" in text for text in tale.words("slack")), "nobody was asked")


STORY = Story(name="low_traffic", told="5 requests/s", ends="Reverted", users_per_s=5, then=then)
