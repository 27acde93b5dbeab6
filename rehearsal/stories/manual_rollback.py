"""A release has reached everybody, and a person sees that it is bad: users are back in seconds."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.stage import Stage
from rehearsal.story import SERVICES, Story, Tale


async def meanwhile(stage: Stage, run: Run) -> Run:
    """Once the release is promoted, somebody asks for the way back; the story is about that run."""
    promoted = await stage.prefect.wait(run.id, STORY.timeout_s)
    stage.event(f"the release ended {promoted.state}")
    request = {
        "symptom": "Error rate 0.1-0.5%",
        "reason": "some reports come out empty",
        "requested_by": "rehearsal",
    }
    return await stage.prefect.start("rollback/production", {"request": request})


def then(tale: Tale) -> None:
    """Every service serves what it served before, within 15 s of being asked; last_good names it; told once."""
    for service in SERVICES:
        tale.expect(tale.after[service] == tale.before[service], f"{service} serves {tale.after[service]}")
        serving = next(iter(tale.after[service]))
        newest = checks.last_good(tale, service)[0]["revision"]
        tale.expect(newest == serving, f"{service}: the newest good release is {newest}, and {serving} serves")
        tale.expect("previous" not in tale.tags[service], f"{service} keeps what was taken back alive")
    checks.told_once(tale, "slack", "❌ PRODUCTION ROLLBACK EXECUTED")
    checks.told_once(tale, "slack", "Incident Commander: ?")
    checks.told_once(tale, "github", "Production rollback of")
    checks.served_within(tale, 15)


STORY = Story(
    name="manual_rollback",
    told="promoted, then taken back by a person",
    ends="RolledBack",
    meanwhile=meanwhile,
    then=then,
)
