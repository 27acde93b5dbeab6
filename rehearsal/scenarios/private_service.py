"""The ai-core takes requests from signed-in callers only: they and the worker's smoke tests carry an ID token."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import PRODUCTION, STAGING, TestEnvironment

SERVICE = "ethixai-ai-core"


async def given(test_env: TestEnvironment) -> None:
    """Google's front end answers 403 without a token. Who calls the service signs in, and the environment file says
    that the worker does."""
    for project in (PRODUCTION, STAGING):
        url = test_env.world.url(SERVICE, project)
        await test_env.users.sign_in(url, await test_env.world.id_token(url))
        await test_env.world.front(test_env.world.find(SERVICE, project), is_private=True)
    await test_env.policy("", ethixai="id_tokens = true\n")


def then(result: ScenarioResult) -> None:
    """Promoted: it was tested at its tag, and its canary was judged on its callers' requests, of which none was
    refused."""
    checks.promoted(result)
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
