"""Somebody moves a service's traffic by hand in the middle of the bake."""

import asyncio

from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story, Tale

TOUCHED = "ethixai-frontend"
THEIRS = {"ethixai-frontend-00031-xyz": 100}


async def meanwhile(stage: Stage, run: Run) -> None:
    """In the console, all users of the frontend go back to the old revision."""
    await stage.until(run, "monitor")
    await asyncio.sleep(5)
    traffic = [{"revision": revision, "percent": share} for revision, share in THEIRS.items()]
    await stage.world.hand(stage.world.find(TOUCHED), traffic)
    stage.event(f"a person moves the traffic of {TOUCHED}")


def then(tale: Tale) -> None:
    """What the person touched stays as they left it; the others are on stable; both sides were told."""
    tale.expect(tale.after[TOUCHED] == THEIRS, f"{TOUCHED} serves {tale.after[TOUCHED]}, not what the person set")
    for service in set(tale.before) - {TOUCHED}:
        tale.expect(tale.after[service] == tale.before[service], f"{service} serves {tale.after[service]}")
    tale.expect(any("INTERRUPTED" in text for text in tale.words("slack")), "#releases was not told")
    tale.expect("person@ethixai.example" in tale.run.message, f"it does not say who: {tale.run.message}")


STORY = Story(
    name="console_edit",
    told="a person moves one service's traffic mid-bake",
    ends="Interrupted",
    meanwhile=meanwhile,
    then=then,
)
