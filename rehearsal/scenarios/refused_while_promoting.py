"""Cloud Run refuses the second service's promotion: all services go back, and the page has Cloud Run's own words."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import PRODUCTION, TestEnvironment

SERVICE = "ethixai-backend"
SAYS = "Quota violated: MaxInstances allowed 10, requested 20"


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """The next write to that service after the bake is refused."""
    await test_env.until(run, "monitor")
    await test_env.world.fault(
        "Services.ReplaceService", "INVALID_ARGUMENT", resource=f"*{PRODUCTION}*{SERVICE}", message=SAYS
    )
    test_env.event(f"Cloud Run will refuse the next change of {SERVICE}.")


def then(result: ScenarioResult) -> None:
    """All are back, the one that was promoted already too; the page is P1, with the reason."""
    checks.reverted(result, because=SAYS)
    promoted = [service for service, share in result.shifts() if share == 100]
    result.expect(promoted == ["ethixai-ai-core"], f"promoted before the refusal: {', '.join(promoted) or 'none'}")
    pages = result.words("pagerduty")
    result.expect(any("'severity': 'critical'" in page for page in pages), f"no page is critical: {pages}")


SCENARIO = Scenario(
    name="refused_while_promoting",
    description="Cloud Run refuses the second service's promotion, and all services are reverted.",
    ends="Reverted",
    meanwhile=meanwhile,
    then=then,
)
