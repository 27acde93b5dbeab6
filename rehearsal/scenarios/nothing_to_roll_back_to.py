"""Somebody asks for a rollback where nothing was ever released: it is refused in a sentence, and nothing moves."""

from typing import Any

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment


def starts(test_env: TestEnvironment, version: str) -> Start:
    """A rollback, without any release before it."""
    request: dict[str, Any] = {
        "symptom": "Error rate > 0.5%",
        "reason": "everything is slow",
        "requested_by": "rehearsal",
    }
    return "rollback/production", {"request": request}


def then(result: ScenarioResult) -> None:
    """Not one write, and the message says what is missing and what to do."""
    checks.untouched(result)
    for words in ("nothing to roll back to", "ethixai-backend-00041-xyz", "Name a revision in `to`"):
        result.expect(words in result.run.message, f"{words!r} is not in: {result.run.message}")


STORY = Scenario(
    name="nothing_to_roll_back_to",
    told="a rollback with no release before",
    ends="Refused",
    starts=starts,
    then=then,
)
