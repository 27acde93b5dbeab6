"""A hotfix is asked for while a normal release bakes: the release gives way, and everybody gets the fix."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import hotfix
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """In the middle of the bake the hotfix is asked for; the story is about it, once the release has ended too."""
    await test_env.until(run, "monitor")
    version = test_env.new_version()
    await test_env.publish(version, hotfix.STORY)
    fix = await test_env.prefect.start(*hotfix.starts(test_env, version))
    fenced = await test_env.prefect.wait(run.id, STORY.timeout_s)
    test_env.event(f"the release ended {fenced.state}: {fenced.message}")
    if fenced.state != "Fenced":
        raise AssertionError(f"the release ended {fenced.state}, not Fenced: {fenced.message}")
    return fix


def then(result: ScenarioResult) -> None:
    """Everybody has the fix; the release was taken back first, and its readers know why."""
    checks.fixed(result)
    checks.told_once(result, "slack", "RELEASE GAVE WAY")
    checks.told_once(result, "slack", "🚨 HOTFIX DEPLOYED")
    reverts = [step.ended_at_s for step in result.steps_named("revert")]
    deploys = [step.started_at_s for step in result.steps_named("deploy canary")][-3:]
    result.expect(bool(reverts) and max(reverts) <= min(deploys), "the release was not taken back before the fix came")


STORY = Scenario(
    name="hotfix_preempts",
    told="a fix takes over from a baking release",
    ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
