"""A migration that cannot be undone: after a no everything is opened again as it was found; after two yeses a backup
is restored beside production, verified, and production is pointed at it."""

from rehearsal import checks, database
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.stories.migration_rename import starts
from rehearsal.story import PRODUCTION, Story, Tale


async def answer(stage: Stage, run: Run, word: str, reason: str) -> None:
    """What a person fills into the form of the paused run."""
    await stage.until_state(run, "PAUSED")
    taken = await stage.prefect.answer(run.id, {"answer": word, "approver": "Ada", "reason": reason})
    stage.event(f"Ada answered {word}: {taken}")


async def meanwhile(stage: Stage, run: Run) -> Run:
    """First a no, which ends that run; then somebody starts it again, and Ada says yes twice."""
    await answer(stage, run, "no", "first ask the users who made the two reports")
    refused = await stage.prefect.wait(run.id, STORY.timeout_s)
    stage.event(f"after the no it ended {refused.state}: {refused.message}")
    if refused.state != "Refused" or await stage.world.told("atlas"):
        raise AssertionError(f"after the no it ended {refused.state}, and Atlas was told something")
    again = await stage.prefect.start(*starts(stage, ""))
    await answer(stage, again, "yes", "the reports can be made again")
    await stage.until(again, "verify restore")
    await answer(stage, again, "yes", "it is the right data")
    return again


def then(tale: Tale) -> None:
    """Production's own cluster was not touched; the backend's copy reads the restored one; who agreed is told."""
    restored, kept = database.rows(tale.restored_uri), database.rows(tale.mongodb_uri)
    tale.expect(restored == (20, 20), f"{restored[0]} of {restored[1]} restored data sets have their rows")
    tale.expect(kept == (0, 20), f"production's own cluster was changed: {kept}")
    serving = next(iter(tale.after[database.BACKEND]))
    tale.expect("-restored-" in serving, f"the backend serves {serving}, which reads the old database")
    tale.expect(
        any(f"projects/{PRODUCTION}/secrets/mongodb-uri" in w["resource"] for w in tale.writes), "no new secret"
    )
    checks.told_once(tale, "slack", "Ada said yes: it is the right data")
    tale.expect(len(tale.words("atlas")) == 1, f"{len(tale.words('atlas'))} restores were started")


STORY = Story(
    name="migration_irreversible",
    told="a no, then two yeses: a backup is restored",
    ends="RolledBack",
    users_per_s=0,
    given=database.with_rows_dropped,
    starts=starts,
    meanwhile=meanwhile,
    then=then,
)
