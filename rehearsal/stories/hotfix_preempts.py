"""A hotfix is asked for while a normal release bakes: the release gives way, and everybody gets the fix."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.stories import hotfix
from rehearsal.story import Story, Tale


async def meanwhile(stage: Stage, run: Run) -> Run:
    """In the middle of the bake the hotfix is asked for; the story is about it, once the release has ended too."""
    await stage.until(run, "monitor")
    version = stage.new_version()
    await stage.publish(version, hotfix.STORY)
    fix = await stage.prefect.start(*hotfix.starts(stage, version))
    fenced = await stage.prefect.wait(run.id, STORY.timeout_s)
    stage.event(f"the release ended {fenced.state}: {fenced.message}")
    if fenced.state != "Fenced":
        raise AssertionError(f"the release ended {fenced.state}, not Fenced: {fenced.message}")
    return fix


def then(tale: Tale) -> None:
    """Everybody has the fix; the release was taken back first, and its readers know why."""
    checks.fixed(tale)
    checks.told_once(tale, "slack", "RELEASE GAVE WAY")
    checks.told_once(tale, "slack", "🚨 HOTFIX DEPLOYED")
    reverts = [step.ended_at_s for step in tale.steps_named("revert")]
    deploys = [step.started_at_s for step in tale.steps_named("deploy canary")][-3:]
    tale.expect(bool(reverts) and max(reverts) <= min(deploys), "the release was not taken back before the fix came")


STORY = Story(
    name="hotfix_preempts",
    told="a fix takes over from a baking release",
    ends="Promoted",
    meanwhile=meanwhile,
    then=then,
)
