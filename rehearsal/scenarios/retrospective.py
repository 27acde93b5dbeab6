"""A release is taken back, and the daily retrospective looks back at it: a page, issues to follow up, and a message."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.test_environment import TestEnvironment

SECTIONS = ("Where the time went", "data:image/svg+xml;base64,", "Waiting for people", "Error ratio", "What to do")
RELEASE = "The release: "


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Wait for the release, start the retrospective as its schedule does, twice, and read the page that it leaves."""
    reverted = await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(f"{RELEASE}{test_env.newest_version} {reverted.state}")
    for _ in range(2):  # what was said once is not said again
        looked = await test_env.prefect.start("retrospective/production", {"environment": "production"})
        looked = await test_env.prefect.wait(looked.id, 120)
    page = await test_env.prefect.artifact(f"retrospective-{run.id}")
    for words in (*SECTIONS, reverted.message[:40]):
        test_env.event(f"the page {'shows' if words in page else 'LACKS'}: {words}")
    return looked


def then(result: ScenarioResult) -> None:
    """The page has every part; the cause is an issue on GitHub, and ``#releases`` has the summary, each once."""
    checks.unchanged(result)
    told = [text for _, text in result.events]
    version, state = next(text for text in told if text.startswith(RELEASE)).removeprefix(RELEASE).split()
    lacks = [text for text in told if "LACKS" in text]
    result.expect(not lacks and state == "Reverted", f"{version} ended {state}; {'; '.join(lacks)}")
    asked = sum(
        f"Find out why release {version} to production was taken back" in text for text in result.words("github")
    )
    result.expect(asked == 1, f"{asked} issues ask for the cause of {version}, expected 1")
    checks.sent_once(result, "slack", f"Retrospective of release {version}")


SCENARIO = Scenario(
    name="retrospective",
    description="A release is taken back, and the daily retrospective looks back at it.",
    ends="Passed",
    behaviours={"ethixai-backend": "errors=0.05"},
    meanwhile=meanwhile,
    then=then,
)
