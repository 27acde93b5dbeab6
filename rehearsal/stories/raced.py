"""Two releases are asked for in the same second."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import Story


async def meanwhile(stage: Stage, run: Run) -> Run:
    """Another version is asked for at once; the story is about whichever was first to the claim."""
    version = stage.new_version()
    await stage.publish(version, STORY)
    other = await stage.prefect.start("release/production", stage.request(version))
    ended = [await stage.prefect.wait(one.id, STORY.timeout_s) for one in (run, other)]
    stage.event(f"the two ended {ended[0].state} and {ended[1].state}")
    winners = [one for one in ended if one.state == "Promoted"]
    refused = [one for one in ended if one.state == "Refused" and "is held by release" in one.message]
    if len(winners) != 1 or len(refused) != 1:
        raise AssertionError(f"not one Promoted and one Refused: {ended}")
    return winners[0]


STORY = Story(
    name="raced",
    told="two releases at once",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
