"""GitHub's token was revoked: what CI says cannot be told, and that stops a release as a failure does."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def given(test_env: TestEnvironment) -> None:
    """GitHub answers 401 to every call."""
    await test_env.world.vendor_fault("github", status=401, count=None)


def then(result: ScenarioResult) -> None:
    """Refused: four items cannot be told, each names GitHub and the field to correct; no service was written to."""
    checks.nothing_written(result, "CANNOT TELL: All CI tests passing on main: no answer .GitHub")
    result.expect("Check github.token" in result.message, f"the field is not named: {result.message}")
    for item in ("ci", "scan", "load_test"):
        result.expect(item in result.message.rpartition("a reason: ")[2], f"{item} is not among the open items")


SCENARIO = Scenario(
    name="gate_cannot_tell",
    description="GitHub's token was revoked, so the results of CI and of the scan cannot be told.",
    ends="Refused",
    users_per_s=0,
    given=given,
    then=then,
)
