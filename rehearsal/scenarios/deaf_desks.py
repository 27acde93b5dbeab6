"""Slack, PagerDuty, Sentry and GitHub are all down."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment

DESKS = ("slack", "pagerduty", "sentry", "github")


async def given(test_env: TestEnvironment) -> None:
    """Nobody can be told anything."""
    for vendor in DESKS:
        await test_env.world.desk_fault(vendor, status=503, count=None)


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """The release ends without them; then they are back, and hear of it."""
    await test_env.prefect.wait(run.id, STORY.timeout_s)
    test_env.event(f"{len(await test_env.world.told())} words were said; now the desks are back")
    await test_env.world.clear_desk_faults()
    for announcement in await test_env.prefect.runs_of("announce/production"):
        await test_env.prefect.wait(announcement.id, 120)


STORY = Scenario(
    name="deaf_desks",
    told="all desks down",
    ends="Promoted",
    given=given,
    meanwhile=meanwhile,
    then=checks.promoted,
)
