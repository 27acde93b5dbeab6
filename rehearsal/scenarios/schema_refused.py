"""The database is not where the release needs it: refused in production before anything moves, both ranges named."""

from rehearsal import checks, database
from rehearsal.scenario import Scenario, ScenarioResult


def then(result: ScenarioResult) -> None:
    """Not one write to production, and the message says what the release reads and what the database has."""
    checks.untouched(result)
    for words in ("can read schemas 2 to 3", "the database has schema 1"):
        result.expect(words in result.run.message, f"{words!r} is not in: {result.run.message}")


STORY = Scenario(
    name="schema_refused",
    told="the release cannot read the schema",
    ends="Refused",
    users_per_s=0,
    given=database.without_migrations,
    then=then,
)
