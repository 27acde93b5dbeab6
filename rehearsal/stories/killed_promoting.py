"""The process is killed when the first service was promoted and the others were not."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import PRODUCTION, Story, Tale


async def given(stage: Stage) -> None:
    """Writes to the second service take their time once it is being promoted, so that the moment can be met."""
    await stage.world.turn(reconcile_delay_s=0.5)


async def meanwhile(stage: Stage, run: Run) -> None:
    """SIGKILL as soon as the lead serves the new revision to everybody."""
    await stage.until(run, "monitor")
    old = (await stage.world.served(PRODUCTION))["ethixai-ai-core"]
    while len(old) > 1:
        old = (await stage.world.served(PRODUCTION))["ethixai-ai-core"]
    stage.kill(run)


def then(tale: Tale) -> None:
    """Promoted all the same, and nobody had to wait long for somebody to go on."""
    checks.promoted(tale)
    checks.taken_over_within(tale, checks.WORKER_LIVES_S)


STORY = Story(
    name="killed_promoting",
    told="SIGKILL between the first and the second service's promotion",
    ends="Promoted",
    recovery_ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=then,
)
