"""No person is on call: the release is refused before anything is written. So is a request of a wrong shape."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

WRONG = {
    "request": {"canary_percnt": 5, "plan_only": "maybe", "overrides": [{"item": "load-tests", "by": "Ada"}]},
    "environment": "production",
}
"""What a script may send past the form."""
SAYS = (
    "request.canary_percnt: there is no such field",
    "Is it canary_percent?",
    "request.plan_only: 'maybe' is not taken; it takes true or false",
    "request.overrides[0].item: 'load-tests' is not taken; it takes one of: ci,",
    "Correct the request and start it again",
)


async def given(test_env: TestEnvironment) -> None:
    """PagerDuty's escalation policy is empty."""
    await test_env.world.on_call()


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """A script starts another release past its form, with a request of a wrong shape."""
    wrong = await test_env.prefect.start("release/production", WRONG, is_checked=False)
    wrong = await test_env.prefect.wait(wrong.id, SCENARIO.timeout_s)
    test_env.event(f"{wrong.name} {wrong.state}: {wrong.message}")
    logs = "\n".join(await test_env.prefect.logs(wrong.id))
    for words in ("Traceback", "pydantic"):
        test_env.event(f"its log {'HAS' if words in logs else 'is without'} {words}")


def then(result: ScenarioResult) -> None:
    """Refused with the item and what to do, or one line for each wrong field; no service was written to, and
    ``#releases`` knows of both."""
    checks.nothing_written(result, "On-call engineer available for the next 2 hours: no person is on call")
    result.expect("override each item with a name and a reason: on_call" in result.message, result.message)
    wrong = next((text for _, text in result.events if " Refused: " in text), "")
    told = next((text for text in result.words("slack") if SAYS[0] in text), "")
    for words in SAYS:
        result.expect(words in wrong and words in told, f"{words!r} is not in {wrong!r}, or not in {told!r}")
    result.expect(not any(" HAS " in text for _, text in result.events), f"the log of the wrong request: {wrong}")


SCENARIO = Scenario(
    name="gate_fails",
    description="No person is on call for the next two hours.",
    ends="Refused",
    users_per_s=0,
    given=given,
    meanwhile=meanwhile,
    then=then,
)
