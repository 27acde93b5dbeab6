"""Nothing is wrong: the release reaches everybody and no user notices."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Promoted, told in the playbook's words, not one of at least 2,000 requests failed."""
    checks.promoted(tale)
    checks.watched(tale)
    checks.untroubled(tale, least=2000)


STORY = Story(name="healthy", told="nothing wrong", ends="Promoted", then=then)
