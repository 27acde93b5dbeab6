"""Users send 5 requests/s to each service, too few to rule out 0.5 %: the forecast gives each canary a larger share and
a longer bake, and the release is promoted on what that rules out."""

import re

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult

RULED_OUT = re.compile(r"[01] of \d+ requests failed: a fault of [25] % is ruled out, one of [12] % is not")


def then(result: ScenarioResult) -> None:
    """Promoted without a person: 30 % and two minutes, chosen before a user met the canary, and what was ruled out."""
    checks.promoted(result, percent=30)
    words = result.words("slack")
    result.expect(
        any("The share is raised to 30 % and the bake to 2 minutes" in text for text in words),
        "#releases was not told what the forecast changed",
    )
    result.expect(any(RULED_OUT.search(text) for text in words), "no message says what was ruled out")
    result.expect(not any("RELEASE HELD" in text for text in words), "a person was asked")


SCENARIO = Scenario(
    name="low_traffic",
    description="Users send 5 requests/s; the canary gets a larger share and a longer bake, and is promoted.",
    ends="Promoted",
    users_per_s=5,
    then=then,
)
