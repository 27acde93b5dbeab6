"""A release is rolled back while another person's tag is on a revision that never started: Cloud Run refuses every
change of traffic that carries it."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import REPOSITORY, SERVICES, TestEnvironment

SERVICE, DEAD, TAG = "ethixai-backend", "ethixai-backend-00051-pr7", "pr-7"


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Once the release is promoted, a colleague's preview does not start; then a person rolls back."""
    promoted = await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(f"The release ended as {promoted.state}.")
    digest = await test_env.world.publish(f"{REPOSITORY}/{SERVICE}", "pr-7", {"BEHAVIOUR": "dies"})
    found = await test_env.world.service(SERVICE)
    traffic = [*found["traffic"], {"revision": DEAD, "percent": 0, "tag": TAG}]
    deploy = {"revision": DEAD, "image": f"{REPOSITORY}/{SERVICE}@{digest}"}
    await test_env.world.out_of_band(found["name"], traffic, deploy=deploy, may_fail=True)
    test_env.event(f"A colleague's preview {DEAD} does not start; its tag {TAG} stays.")
    request = {"symptom": "Error rate > 0.5%", "reason": "reports come out empty", "requested_by": "rehearsal"}
    return await test_env.prefect.start("rollback/production", {"request": request})


def then(result: ScenarioResult) -> None:
    """Every service is back, and people are told that the dead tag had to go."""
    for service in SERVICES:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
    result.expect(TAG not in result.tags[SERVICE], f"{SERVICE} still has the tag {TAG}")
    told = f"{SERVICE}: tag {TAG} was removed, since revision {DEAD} never became ready."
    result.expect(told in result.message, f"the outcome does not say that the tag was removed: {result.message}")
    checks.sent_once(result, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")


SCENARIO = Scenario(
    name="dead_tag_rollback",
    description="A rollback goes through although another person's tag is on a revision that never started.",
    ends="RolledBack",
    meanwhile=meanwhile,
    then=then,
)
