"""Outside any release: a service gets more instances, then only reads are answered, then all is as it was."""

from typing import Any

import httpx

from rehearsal import checks
from rehearsal.files import MAINTENANCE
from rehearsal.prefect_api import Run
from rehearsal.stage import REPOSITORY, Stage
from rehearsal.story import Start, Story, Tale

SERVICE, WITHOUT_ONE, BACKEND = "ethixai-ai-core", "ethixai-frontend", "ethixai-backend"
INSTANCES = 3
REASON, WHO = "a flood of analyses", "rehearsal"
LOGIN = {"email": "test@example.com", "password": "testpass"}
CSV = ("ages.csv", b"age,approved\n34,1\n51,0\n", "text/csv")


def wanted(measure: str, service: str = SERVICE, **fields: Any) -> Start:
    """A measure for a service."""
    asked = {"service": service, "measure": measure, "reason": REASON, "requested_by": WHO, **fields}
    return "mitigate/production", {"request": asked}


async def given(stage: Stage) -> None:
    """Somebody has deployed the maintenance revision that production's file names: it answers reads only."""
    (stable,) = (await stage.world.served())[SERVICE]
    env = {**stage.world.addresses["image_env"], "BEHAVIOUR": "read_only"}
    digest = await stage.world.publish(f"{REPOSITORY}/{SERVICE}", "maintenance", env)
    await stage.world.hand(
        stage.world.find(SERVICE),
        [{"revision": stable, "percent": 100}],
        deploy={"revision": MAINTENANCE, "image": f"{REPOSITORY}/{SERVICE}@{digest}"},
    )


async def meanwhile(stage: Stage, run: Run) -> Run:
    """One measure after another, each looked at from outside; the story is about the way back."""
    await stage.prefect.wait(run.id, STORY.timeout_s)
    await look(stage, "scaled")
    for start in (wanted("read-only"), wanted("read-only", WITHOUT_ONE)):
        ended = await stage.prefect.wait((await stage.prefect.start(*start)).id, STORY.timeout_s)
        stage.event(f"{start[1]['request']['service']}: {ended.state}, {ended.message}")
    await look(stage, "read-only")
    back = await stage.prefect.start(*wanted("restore"))
    await stage.prefect.wait(back.id, STORY.timeout_s)
    await look(stage, "restored")
    return back


async def look(stage: Stage, when: str) -> None:
    """Note how the service is, and what a read and a write there are answered."""
    state = await stage.world.service(SERVICE)
    serving = next(target["revision"] for target in state["served"] if target["percent"])
    instances = len(state["revisions"][serving]["instances"])
    written = state["annotations"].get(f"{checks.OURS}mitigation", "")
    said = "who and why stand on it" if WHO in written and REASON in written else "nothing stands on it"
    async with httpx.AsyncClient(timeout=10) as user:
        read = await user.get(f"{stage.world.url(SERVICE)}/api/ping")
        write = await analyze(user, stage)
    again = write.headers.get("retry-after", "no time")
    stage.event(
        f"{when}: {serving} with {instances} instances, {said}; a read {read.status_code}, "
        f"a write {write.status_code}, come again after {again}"
    )


async def analyze(user: httpx.AsyncClient, stage: Stage) -> httpx.Response:
    """What the service answers to a user who wants a data set analyzed."""
    backend = stage.world.url(BACKEND)
    token = (await user.post(f"{backend}/api/auth/login", json=LOGIN)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    form = {"files": {"file": CSV}, "data": {"datasetName": "ages"}}
    uploaded = await user.post(f"{backend}/api/datasets/upload", headers=headers, **form)  # type: ignore[arg-type]
    asked = {
        "datasetId": uploaded.json()["datasetId"],
        "targetColumn": "approved",
        "sensitiveAttributes": ["age"],
    }
    return await user.post(f"{stage.world.url(SERVICE)}/api/analyze", headers=headers, json=asked)


def then(tale: Tale) -> None:
    """Each measure was in force, seen from outside; no user's request failed; all is as it was, and was told."""
    (stable,) = tale.before[SERVICE]
    happened = [text for _, text in tale.events]
    for expected in (
        f"scaled: {stable} with {INSTANCES} instances, who and why stand on it; a read 200, a write 201, ",
        f"{WITHOUT_ONE}: Refused, Nothing was touched. measure: {WITHOUT_ONE} has no maintenance revision. Deploy one",
        f"read-only: {MAINTENANCE} with {INSTANCES} instances, who and why stand on it; a read 200, "
        "a write 503, come again after 120",
        f"restored: {stable} with 1 instances, nothing stands on it; a read 200, a write 201, ",
    ):
        tale.expect(any(text.startswith(expected) for text in happened), f"it was not so: {expected}")
    checks.back(tale)
    checks.untroubled(tale, least=2000)
    answered = tale.requests["by_revision"]
    tale.expect(answered.get(MAINTENANCE, 0) > 0, "no user was answered by the maintenance revision")
    for words in ("MITIGATED: scale", "MITIGATED: read-only", "RESTORED: restore"):
        checks.told_once(tale, "slack", f"PRODUCTION {words} {SERVICE}")
    tale.expect(all(f"Reason: {REASON} ({WHO})" in text for text in tale.words("slack")), "not each says who and why")


STORY = Story(
    name="mitigate",
    told="scaled, then read-only, then restored by a person",
    ends="Passed",
    given=given,
    starts=lambda stage, version: wanted("scale", instances=INSTANCES),
    meanwhile=meanwhile,
    then=then,
)
