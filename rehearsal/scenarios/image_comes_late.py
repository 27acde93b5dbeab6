"""A merge starts staging before CI has pushed: the run waits while CI is at work, says so, and goes on."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import STAGING, TestEnvironment

WAITS = "is not pushed yet; CI is at work on it"


async def given(test_env: TestEnvironment) -> None:
    """A commit whose CI is at work, and of which no image is there."""
    commit = test_env.new_version().rpartition("-")[2]
    await test_env.world.github_checked(commit, {"build": "", "test": ""})


def starts(test_env: TestEnvironment, version: str) -> Start:
    """What the merge of that commit starts."""
    asked = {"version": test_env.newest_version, "requested_by": "rehearsal"}
    return "release/staging", {"request": asked, "environment": "staging"}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """CI pushes once the run has said that it waits."""
    for _ in range(60):
        if any(WAITS in line for line in await test_env.prefect.logs(run.id)):
            break
        await asyncio.sleep(1)
    else:
        raise TimeoutError("the run did not say that it waits")
    test_env.event(f"The run waits. Writes so far: {len(await test_env.world.writes())}.")
    await test_env.publish(test_env.newest_version)
    commit = test_env.newest_version.rpartition("-")[2]
    await test_env.world.github_checked(commit, {"build": "success", "test": "success", "trivy": "success"})
    test_env.event("CI has pushed.")


def then(result: ScenarioResult) -> None:
    """Staging has the version; nothing was written before the images were there, and nothing to production."""
    checks.untouched(result)
    happened = [text for _, text in result.events]
    result.expect("The run waits. Writes so far: 0." in happened, f"the timeline: {happened}")
    served = [one for one in result.writes if f"/{STAGING}/" in one["resource"] and one["applied"]]
    result.expect(bool(served), "staging was not written to")


SCENARIO = Scenario(
    name="image_comes_late",
    description="A release to staging starts before CI has pushed its images.",
    ends="Promoted",
    users_per_s=0,
    given=given,
    starts=starts,
    meanwhile=meanwhile,
    then=then,
)
