"""The frontend has no metrics of its own: Cloud Run's counts of its requests decide."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

FRONTEND = 'telemetry = "cloud_run"\n'


async def given(test_env: TestEnvironment) -> None:
    """Production's environment file says where the frontend's requests are seen."""
    await test_env.policy('allow_unseen = ["cpu", "memory"]\n', frontend=FRONTEND)


def then(result: ScenarioResult) -> None:
    """It was promoted with the others."""
    checks.promoted(result)


SCENARIO = Scenario(
    name="frontend_without_metrics",
    description="The frontend offers no metrics; it is promoted on Cloud Run's own request counts.",
    ends="Promoted",
    given=given,
    behaviours={"ethixai-frontend": "no_metrics"},
    then=then,
)
