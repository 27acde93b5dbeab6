"""A colleague deploys a preview to one of the services during the bake: it is none of the release's business."""

import asyncio

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

SERVICE, PREVIEW, TAG = "ethixai-backend", "ethixai-backend-00050-pr9", "pr-9"


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """As ``gcloud run deploy --no-traffic --tag=pr-9`` does it."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    found = await test_env.world.service(SERVICE)
    image = next(iter(found["revisions"].values()))["image"]
    traffic = [*found["traffic"], {"revision": PREVIEW, "percent": 0, "tag": TAG}]
    await test_env.world.out_of_band(found["name"], traffic, deploy={"revision": PREVIEW, "image": image})
    test_env.event(f"A colleague deploys the preview {PREVIEW} with the tag {TAG}.")


def then(result: ScenarioResult) -> None:
    """The release was promoted, no user met the preview, and its tag is as the colleague left it."""
    checks.promoted(result)
    result.expect(TAG in result.tags[SERVICE], f"{SERVICE} has the tags {', '.join(result.tags[SERVICE])}")
    met = result.requests["by_revision"].get(PREVIEW, 0)
    result.expect(met == 0, f"{met} users met the preview")
    result.expect(not any("INTERRUPTED" in text for text in result.words("slack")), "the release was interrupted")


SCENARIO = Scenario(
    name="preview_during_bake",
    description="A colleague deploys a preview during the bake, and the release goes on.",
    ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
