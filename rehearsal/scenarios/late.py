"""A run starts ten minutes after its time: a person is asked, and without an answer nothing is written."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment


async def given(test_env: TestEnvironment) -> None:
    """A person has 20 s to answer; production of a rehearsal calls a run late after five minutes."""
    await test_env.policy(gates="approval_deadline_s = 20\n")


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """See that the run waits for a person, and leave it alone."""
    await test_env.until_state(run, "PAUSED")
    test_env.event("The run waits for a person.")


def then(result: ScenarioResult) -> None:
    """Refused after the deadline; ``#releases`` knew that it was late, and no service was written to."""
    checks.nothing_written(result, "10 minutes after its time")
    told = [text for text in result.words("slack") if "RELEASE IS LATE" in text]
    result.expect(len(told) == 1, f"#releases was told {len(told)} times that the release is late")
    result.expect(bool(result.events), "the run did not wait for a person")


SCENARIO = Scenario(
    name="late",
    description="A run starts ten minutes after its time, and no person lets it go on.",
    ends="Refused",
    users_per_s=0,
    due_s_ago=600,
    given=given,
    meanwhile=meanwhile,
    then=then,
)
