"""The new backend counts its requests under another label, and every user's request fails: nothing counted says so."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Reverted before any user was sent there, with the label that was found and the line that mends it."""
    title = "Production release stopped: its metrics cannot be judged"
    checks.reverted(result, because=r'Set telemetry\.status_label = "code"', met=False, ticket=title)
    checks.never_shifted(result)


SCENARIO = Scenario(
    name="mislabelled",
    description="The backend's metrics say nothing about failed requests; it is found before users.",
    ends="Reverted",
    behaviours={"ethixai-backend": "errors=1,labels=code"},
    then=then,
)
