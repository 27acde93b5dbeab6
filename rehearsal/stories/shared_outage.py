"""What all revisions depend on fails: the canary and stable alike."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale


async def meanwhile(stage: Stage, run: Run) -> None:
    """Ten seconds into the bake the shared dependency goes down."""
    await stage.until(run, "monitor")
    await asyncio.sleep(10)
    await stage.world.dependency(is_down=True)
    stage.event("what all revisions share is down")


def then(tale: Tale) -> None:
    """Reverted, for the playbook is absolute; but paged as shared, for it may not help."""
    checks.reverted(tale, because=checks.FAILED_RATIO)
    pages = tale.words("pagerduty")
    tale.expect(any("probably shared" in page for page in pages), f"not paged as shared: {pages}")


STORY = Story(
    name="shared_outage",
    told="stable and canary fail alike",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
