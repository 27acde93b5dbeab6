"""A rollback is requested where nothing was released before: it is refused, and no traffic moves."""

from typing import Any

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment


def starts(test_env: TestEnvironment, version: str) -> Start:
    """Start a rollback without a release before it."""
    request: dict[str, Any] = {
        "symptom": "Error rate > 0.5%",
        "reason": "everything is slow",
        "requested_by": "rehearsal",
    }
    return "rollback/production", {"request": request}


def then(result: ScenarioResult) -> None:
    """No write, and the message says what is missing and what to do."""
    checks.untouched(result)
    for words in ("nothing to roll back to", "ethixai-backend-00041-xyz", "Name a revision in 'to'"):
        result.expect(words in result.run.message, f"{words!r} is not in: {result.run.message}")


SCENARIO = Scenario(
    name="nothing_to_roll_back_to",
    description="A rollback is requested where nothing was released before.",
    ends="Refused",
    starts=starts,
    then=then,
)
