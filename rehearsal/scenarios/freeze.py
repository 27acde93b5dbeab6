"""A freeze window holds: nothing is released, and the message says until when."""

from datetime import UTC, datetime, timedelta

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

DAY = timedelta(days=1)


async def given(test_env: TestEnvironment) -> None:
    """Production has a window from yesterday until tomorrow, in the time of Berlin."""
    begins, ends = (f"{datetime.now(UTC) + by:%Y-%m-%d %H:%M}" for by in (-DAY, DAY))
    window = f'{{name = "Black Friday", begins = "{begins}", ends = "{ends}", zone = "Europe/Berlin"}}'
    await test_env.policy(gates=f"freeze = [{window}]\n")


def then(result: ScenarioResult) -> None:
    """Refused, naming the window and its end; no service was written to, staging included."""
    checks.nothing_written(result, r"No freeze window: Black Friday \(.*Europe/Berlin\) holds until .* UTC")


SCENARIO = Scenario(
    name="freeze",
    description="A freeze window of production holds.",
    ends="Refused",
    users_per_s=0,
    given=given,
    then=then,
)
