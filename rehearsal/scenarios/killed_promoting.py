"""The process is killed when the first service was promoted and the others were not."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import PRODUCTION, Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def given(test_env: TestEnvironment) -> None:
    """Writes to the second service take their time once it is being promoted, so that the moment can be met."""
    await test_env.world.turn(reconcile_delay_s=0.5)


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """SIGKILL as soon as the lead serves the new revision to everybody."""
    await test_env.until(run, "monitor")
    old = (await test_env.world.served(PRODUCTION))["ethixai-ai-core"]
    while len(old) > 1:
        old = (await test_env.world.served(PRODUCTION))["ethixai-ai-core"]
    test_env.kill(run)


def then(result: ScenarioResult) -> None:
    """Promoted all the same, and nobody had to wait long for somebody to go on."""
    checks.promoted(result)
    checks.taken_over_within(result, checks.WORKER_LIVES_S)


STORY = Scenario(
    name="killed_promoting",
    told="SIGKILL between the first and the second service's promotion",
    ends="Promoted",
    recovery_ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=then,
)
