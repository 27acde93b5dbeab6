"""The database is not where the release needs it: refused in production before anything moves, both ranges named."""

from rehearsal import checks, database
from rehearsal.story import Story, Tale


def then(tale: Tale) -> None:
    """Not one write to production, and the message says what the release reads and what the database has."""
    checks.untouched(tale)
    for words in ("can read schemas 2 to 3", "the database has schema 1"):
        tale.expect(words in tale.run.message, f"{words!r} is not in: {tale.run.message}")


STORY = Story(
    name="schema_refused",
    told="the release cannot read the schema",
    ends="Refused",
    users_per_s=0,
    given=database.without_migrations,
    then=then,
)
