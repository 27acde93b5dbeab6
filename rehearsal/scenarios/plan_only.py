"""A run that only plans: everything up to the first write is asked and shown, and nothing is written."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import SERVICES, TestEnvironment

SECTIONS = (
    "What each check says",
    "What it would change",
    "Forecast of the bake",
    "What has changed since",
    "What would be said",
    "Production release starting",
    "Roll back by hand",
)


def starts(test_env: TestEnvironment, version: str) -> Start:
    """A release that is only planned."""
    asked = test_env.request(version, "a rehearsed release")
    return "release/production", {**asked, "request": {**asked["request"], "plan_only": True}}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Read the page that the plan leaves in the UI."""
    await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    page = await test_env.prefect.artifact(f"plan-production-{test_env.newest_version}")
    for words in (*SECTIONS, *(f"requests will reach {name}'s canary" for name in SERVICES)):
        test_env.event(f"the page {'shows' if words in page else 'LACKS'}: {words}")


def then(result: ScenarioResult) -> None:
    """Nothing was written to any environment, no user failed, and the page has every part."""
    checks.nothing_written(result, "nothing was written. It may start")
    checks.no_failed_requests(result, least=0)
    lacks = [text for _, text in result.events if "LACKS" in text]
    result.expect(not lacks and bool(result.events), "; ".join(lacks) or "the page was not read")


SCENARIO = Scenario(
    name="plan_only",
    description="A release is only planned.",
    ends="Planned",
    starts=starts,
    meanwhile=meanwhile,
    then=then,
)
