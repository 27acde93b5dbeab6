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
    tested = [step.name for step in result.steps_named(f"smoke test {SERVICE}")]
    result.expect(len(tested) >= 2, f"{SERVICE} was smoke-tested {len(tested)} times, expected before and after")
    result.expect(result.reached(SERVICE) == 0, "users without a token reached the private service")


SCENARIO = Scenario(
    name="private_service",
    description="The ai-core is private; the worker tests its canary with an ID token, and it is promoted.",
    ends="Promoted",
    given=given,
    then=then,
    timeout_s=480,
)
