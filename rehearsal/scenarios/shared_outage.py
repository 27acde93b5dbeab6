"""What all revisions depend on fails: the canary and stable alike."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Ten seconds into the bake the shared dependency goes down."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    await test_env.world.dependency(is_down=True)
    test_env.event("what all revisions share is down")


def then(result: ScenarioResult) -> None:
    """Reverted, for the playbook is absolute; but paged as shared, for it may not help."""
    checks.reverted(result, because=checks.FAILED_RATIO)
    pages = result.words("pagerduty")
    result.expect(any("probably shared" in page for page in pages), f"not paged as shared: {pages}")


STORY = Scenario(
    name="shared_outage",
    told="stable and canary fail alike",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
