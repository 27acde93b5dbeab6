"""Two releases are asked for in the same second."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Another version is asked for at once; the story is about whichever was first to the claim."""
    version = test_env.new_version()
    await test_env.publish(version, STORY)
    other = await test_env.prefect.start("release/production", test_env.request(version))
    ended = [await test_env.prefect.wait(one.id, STORY.timeout_s) for one in (run, other)]
    test_env.event(f"the two ended {ended[0].state} and {ended[1].state}")
    winners = [one for one in ended if one.state == "Promoted"]
    refused = [one for one in ended if one.state == "Refused" and "is held by release" in one.message]
    if len(winners) != 1 or len(refused) != 1:
        raise AssertionError(f"not one Promoted and one Refused: {ended}")
    return winners[0]


STORY = Scenario(
    name="raced",
    told="two releases at once",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
