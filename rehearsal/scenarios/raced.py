"""Two releases are started in the same second."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Start a second release at once. The release that acquired the lease is the run that counts."""
    version = test_env.new_version()
    await test_env.publish(version)
    other = await test_env.prefect.start("release/production", test_env.request(version))
    ended = [await test_env.prefect.wait(one.id, SCENARIO.timeout_s) for one in (run, other)]
    test_env.event(f"The two releases ended as {ended[0].state} and {ended[1].state}.")
    winners = [one for one in ended if one.state == "Promoted"]
    refused = [one for one in ended if one.state == "Refused" and "is held by release" in one.message]
    if len(winners) != 1 or len(refused) != 1:
        raise AssertionError(f"expected one Promoted and one Refused: {ended}")
    return winners[0]


SCENARIO = Scenario(
    name="raced",
    description="Two releases are started at once, and one of them is refused.",
    ends="Promoted",
    meanwhile=meanwhile,
    then=checks.promoted,
)
