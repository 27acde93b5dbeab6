"""A person rolls a promoted release back."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import SERVICES, TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Start a rollback once the release is promoted. The rollback is the run that counts."""
    promoted = await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(f"The release ended as {promoted.state}.")
    request = {
        "symptom": "Error rate 0.1-0.5%",
        "reason": "some reports come out empty",
        "requested_by": "rehearsal",
    }
    return await test_env.prefect.start("rollback/production", {"request": request})


def then(result: ScenarioResult) -> None:
    """Every service serves its earlier revision within 15 s; last_good names it; each message was sent once."""
    for service in SERVICES:
        result.expect(result.after[service] == result.before[service], f"{service} serves {result.after[service]}")
        serving = next(iter(result.after[service]))
        newest = checks.last_good(result, service)[0]["revision"]
        result.expect(newest == serving, f"{service}: the newest good release is {newest}, but {serving} serves")
        result.expect("previous" not in result.tags[service], f"{service} still has the tag previous")
    checks.sent_once(result, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")
    checks.sent_once(result, "slack", "Incident Commander: ?")
    checks.sent_once(result, "github", "Production rollback of")
    checks.served_within(result, 15)


SCENARIO = Scenario(
    name="manual_rollback",
    description="A release is promoted, and a person rolls it back.",
    ends="RolledBack",
    meanwhile=meanwhile,
    then=then,
)
