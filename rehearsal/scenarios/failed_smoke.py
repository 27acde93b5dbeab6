"""The new revision starts, but fails its smoke tests at its tag URL."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted, and no user reached a canary."""
    checks.reverted(result, because=r"smoke test|answered [45]\d\d", met=False)
    checks.never_shifted(result)
    old = {revision for split in result.before.values() for revision in split}
    met = set(result.requests["by_revision"])
    result.expect(met <= old, f"users reached {', '.join(sorted(met - old))}")


SCENARIO = Scenario(
    name="failed_smoke",
    description="The backend's new revision fails its smoke tests at its tag URL.",
    ends="Reverted",
    behaviours={"ethixai-backend": "smoke_fails"},
    then=then,
)
