"""A hotfix is started while a normal release bakes: the release is reverted, then the hotfix is released."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import hotfix
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Start the hotfix during the bake and wait until the release has ended. The hotfix is the run that counts."""
    await test_env.until(run, "monitor")
    version = test_env.new_version()
    await test_env.publish(version, hotfix.SCENARIO.behaviours)
    fix = await test_env.prefect.start(*hotfix.starts(test_env, version))
    fenced = await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(f"The release ended as {fenced.state}: {fenced.message}")
    if fenced.state != "Fenced":
        raise AssertionError(f"the release ended as {fenced.state}, expected Fenced: {fenced.message}")
    return fix


def then(result: ScenarioResult) -> None:
    """All users have the hotfix; the release was reverted first, and a message says why."""
    checks.hotfix_served(result)
    checks.sent_once(result, "slack", "RELEASE GAVE WAY")
    checks.sent_once(result, "slack", "🚨 HOTFIX DEPLOYED")
    reverts = [step.ended_at_s for step in result.steps_named("revert")]
    deploys = [step.started_at_s for step in result.steps_named("deploy canary")][-3:]
    result.expect(
        bool(reverts) and max(reverts) <= min(deploys), "the release was not reverted before the hotfix was deployed"
    )


SCENARIO = Scenario(
    name="hotfix_preempts",
    description="A hotfix takes over from a release that is baking.",
    ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
