"""The release's process is killed after the first service was promoted and before the others were."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import PRODUCTION, TestEnvironment


async def given(test_env: TestEnvironment) -> None:
    """Slow down writes, so that the moment between two promotions lasts long enough."""
    await test_env.world.turn(reconcile_delay_s=0.5)


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Send SIGKILL as soon as the first service sends all users to the new revision."""
    await test_env.until(run, "monitor")
    old = (await test_env.world.served(PRODUCTION))["ethixai-ai-core"]
    while len(old) > 1:
        old = (await test_env.world.served(PRODUCTION))["ethixai-ai-core"]
    test_env.kill(run)


def then(result: ScenarioResult) -> None:
    """Promoted, and another process took over in time."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.WORKER_LIVES_S)


SCENARIO = Scenario(
    name="killed_promoting",
    description="The release's process is killed after the first service was promoted and before the second.",
    ends="Promoted",
    recovery_ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=then,
)
