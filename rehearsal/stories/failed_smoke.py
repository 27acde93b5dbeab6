"""The new revision starts, but fails its smoke tests at the tag URL."""

from rehearsal import checks
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Reverted, and no user ever reached the canary."""
    checks.reverted(tale, because=r"smoke test|answered [45]\d\d", met=False)
    checks.never_shifted(tale)
    old = {revision for split in tale.before.values() for revision in split}
    met = set(tale.requests["by_revision"])
    tale.expect(met <= old, f"users reached {', '.join(sorted(met - old))}")


STORY = Story(
    name="failed_smoke",
    told="the tag URL fails its smoke tests",
    ends="Reverted",
    behaviours={"ethixai-backend": "smoke_fails"},
    then=then,
)
