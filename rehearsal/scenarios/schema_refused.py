"""The release does not support the database's schema: it is refused in production before any write."""

from rehearsal import checks, database
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """No write to production, and the message names the supported schemas and the database's schema."""
    checks.untouched(result)
    for words in ("can read schemas 2 to 3", "the database has schema 1"):
        result.expect(words in result.run.message, f"{words!r} is not in: {result.run.message}")


SCENARIO = Scenario(
    name="schema_refused",
    description="The release does not support the schema of the database.",
    ends="Refused",
    users_per_s=0,
    given=database.without_migrations,
    then=then,
)
