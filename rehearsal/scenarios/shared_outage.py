"""A shared dependency fails, so that canary and stable have the same errors."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Take the shared dependency down 10 s into the bake."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(10)
    await test_env.world.dependency(is_down=True)
    test_env.event("The shared dependency is down.")


def then(result: ScenarioResult) -> None:
    """Reverted, because the playbook's limit is absolute; the page says that the cause is probably shared."""
    checks.reverted(result, because=checks.FAILED_RATIO)
    pages = result.words("pagerduty")
    result.expect(
        any("probably shared" in page for page in pages), f"the page does not say that the cause is shared: {pages}"
    )


SCENARIO = Scenario(
    name="shared_outage",
    description="A shared dependency fails, and canary and stable have the same errors.",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
