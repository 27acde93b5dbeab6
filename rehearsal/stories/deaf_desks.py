"""Slack, PagerDuty, Sentry and GitHub are all down."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story

DESKS = ("slack", "pagerduty", "sentry", "github")


async def given(stage: Stage) -> None:
    """Nobody can be told anything."""
    for desk in DESKS:
        await stage.world.desk_fault(desk, status=503, count=None)


async def meanwhile(stage: Stage, run: Run) -> None:
    """The release ends without them; then they are back, and hear of it."""
    await stage.prefect.wait(run.id, STORY.timeout_s)
    stage.event(f"{len(await stage.world.told())} words were said; now the desks are back")
    await stage.world.clear_desk_faults()
    for announcement in await stage.prefect.runs_of("announce/production"):
        await stage.prefect.wait(announcement.id, 120)


STORY = Story(
    name="deaf_desks",
    told="all desks down",
    ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=checks.promoted,
)
