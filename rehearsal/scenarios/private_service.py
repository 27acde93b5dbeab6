"""The ai-core takes requests from signed-in callers only: smoke tests and requests of our own carry an ID token."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import PRODUCTION, STAGING, TestEnvironment

SERVICE = "ethixai-ai-core"
PROBED = f"""\
low_traffic = {{ "*" = ["promote"], {SERVICE} = ["probe", "promote"] }}
phi_unknown = 1
"""
"""Stable has no past, as no user reaches it. Were its errors taken to come in bursts, the probes would last minutes."""


async def given(test_env: TestEnvironment) -> None:
    """Google's front end answers 403 without a token. The environment file says that the worker signs in, and that
    it sends requests of its own to a canary of this service, which no user reaches."""
    for project in (PRODUCTION, STAGING):
        await test_env.world.front(test_env.world.find(SERVICE, project), is_private=True)
    await test_env.policy(PROBED, ethixai="id_tokens = true\n")


def then(result: ScenarioResult) -> None:
    """Promoted: it was tested at its tag, and its canary was judged on requests of our own."""
    checks.promoted(result)
    probed = result.steps_named(f"probe {SERVICE}")
    result.expect(len(probed) == 1, f"{SERVICE} was probed {len(probed)} times, expected once")
    tested = result.steps_named("smoke tests in production")
    result.expect(len(tested) == 1, f"{len(tested)} steps tested production at the end, expected one")


SCENARIO = Scenario(
    name="private_service",
    description="The ai-core is private; the worker tests its canary with an ID token, and it is promoted.",
    ends="Promoted",
    given=given,
    then=then,
    timeout_s=480,
)
