"""One canary answers nothing but errors."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Reverted within seconds of the first user."""
    checks.reverted(tale)
    onset_to_verdict = tale.seconds["onset_to_verdict"]
    tale.expect(onset_to_verdict is not None and onset_to_verdict < 15, f"the verdict took {onset_to_verdict} s")


STORY = Story(
    name="total_outage",
    told="100 % 5xx",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=1"},
    then=then,
)
