"""A release has reached everybody, and a person sees that it is bad: users are back in seconds."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import SERVICES, Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Once the release is promoted, somebody asks for the way back; the story is about that run."""
    promoted = await test_env.prefect.wait(run.id, STORY.timeout_s)
    test_env.event(f"the release ended {promoted.state}")
    request = {
        "symptom": "Error rate 0.1-0.5%",
        "reason": "some reports come out empty",
        "requested_by": "rehearsal",
    }
    return await test_env.prefect.start("rollback/production", {"request": request})


def then(result: ScenarioResult) -> None:
    """Every service serves what it served before, within 15 s of being asked; last_good names it; told once."""
    for service in SERVICES:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
        serving = next(iter(result.after[service]))
        newest = checks.last_good(result, service)[0]["revision"]
        result.expect(newest == serving, f"{service}: the newest good release is {newest}, and {serving} serves")
        result.expect("previous" not in result.tags[service], f"{service} keeps what was taken back alive")
    checks.told_once(result, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")
    checks.told_once(result, "slack", "Incident Commander: ?")
    checks.told_once(result, "github", "Production rollback of")
    checks.served_within(result, 15)


STORY = Scenario(
    name="manual_rollback",
    told="promoted, then taken back by a person",
    ends="RolledBack",
    meanwhile=meanwhile,
    then=then,
)
