"""There are no users, so nothing can be known."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Reverted at the deadline, because there was no evidence: no data never promotes."""
    checks.reverted(tale, because="no evidence", met=False)
    monitored = [step.ended_at_s - step.started_at_s for step in tale.steps_named("monitor")]
    tale.expect(bool(monitored) and monitored[0] > 50, "it was decided before the bake's deadline")


STORY = Story(name="no_traffic", told="no users", ends="Reverted", users_per_s=0, then=then)
