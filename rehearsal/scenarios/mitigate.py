"""Mitigations outside a release: a service is scaled, then made read-only, then restored."""

from typing import Any

import httpx

from rehearsal import checks
from rehearsal.files import MAINTENANCE
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import REPOSITORY, TestEnvironment

SERVICE, WITHOUT_ONE, BACKEND = "ethixai-ai-core", "ethixai-frontend", "ethixai-backend"
INSTANCES = 3
REASON, WHO = "a flood of analyses", "rehearsal"
LOGIN = {"email": "test@example.com", "password": "testpass"}
CSV = ("ages.csv", b"age,approved\n34,1\n51,0\n", "text/csv")


def wanted(measure: str, service: str = SERVICE, **fields: Any) -> Start:
    """A request for a mitigation of a service."""
    asked = {"service": service, "measure": measure, "reason": REASON, "requested_by": WHO, **fields}
    return "mitigate/production", {"request": asked}


async def given(test_env: TestEnvironment) -> None:
    """Deploy the maintenance revision that production's environment file names: it answers reads only."""
    (stable,) = (await test_env.world.served())[SERVICE]
    env = {**test_env.world.addresses["image_env"], "BEHAVIOUR": "read_only"}
    digest = await test_env.world.publish(f"{REPOSITORY}/{SERVICE}", "maintenance", env)
    await test_env.world.out_of_band(
        test_env.world.find(SERVICE),
        [{"revision": stable, "percent": 100}],
        deploy={"revision": MAINTENANCE, "image": f"{REPOSITORY}/{SERVICE}@{digest}"},
    )


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Start one mitigation after another and check each from outside. The restore is the run that counts."""
    await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    await look(test_env, "scaled")
    for start in (wanted("read-only"), wanted("read-only", WITHOUT_ONE)):
        ended = await test_env.prefect.wait((await test_env.prefect.start(*start)).id, SCENARIO.timeout_s)
        test_env.event(f"{start[1]['request']['service']}: {ended.state}, {ended.message}")
    await look(test_env, "read-only")
    back = await test_env.prefect.start(*wanted("restore"))
    await test_env.prefect.wait(back.id, SCENARIO.timeout_s)
    await look(test_env, "restored")
    return back


async def look(test_env: TestEnvironment, when: str) -> None:
    """Add to the timeline how the service is, and how it answers a read and a write."""
    state = await test_env.world.service(SERVICE)
    serving = next(target["revision"] for target in state["served"] if target["percent"])
    instances = len(state["revisions"][serving]["instances"])
    written = state["annotations"].get(f"{checks.OURS}mitigation", "")
    said = "annotated with who and why" if WHO in written and REASON in written else "not annotated"
    async with httpx.AsyncClient(timeout=10) as user:
        read = await user.get(f"{test_env.world.url(SERVICE)}/api/ping")
        write = await analyze(user, test_env)
    again = write.headers.get("retry-after", "not given")
    test_env.event(
        f"{when}: {serving} with {instances} instances, {said}; a read {read.status_code}, "
        f"a write {write.status_code}, Retry-After {again}"
    )


async def analyze(user: httpx.AsyncClient, test_env: TestEnvironment) -> httpx.Response:
    """The service's answer to a user who asks for the analysis of a data set."""
    backend = test_env.world.url(BACKEND)
    token = (await user.post(f"{backend}/api/auth/login", json=LOGIN)).json()["token"]
    headers = {"Authorization": f"Bearer {token}"}
    form = {"files": {"file": CSV}, "data": {"datasetName": "ages"}}
    uploaded = await user.post(f"{backend}/api/datasets/upload", headers=headers, **form)  # type: ignore[arg-type]
    asked = {
        "datasetId": uploaded.json()["datasetId"],
        "targetColumn": "approved",
        "sensitiveAttributes": ["age"],
    }
    return await user.post(f"{test_env.world.url(SERVICE)}/api/analyze", headers=headers, json=asked)


def then(result: ScenarioResult) -> None:
    """Each mitigation took effect, no user request failed, everything is as before, and each message was sent once."""
    (stable,) = result.before[SERVICE]
    happened = [text for _, text in result.events]
    for expected in (
        f"scaled: {stable} with {INSTANCES} instances, annotated with who and why; a read 200, a write 201, ",
        f"{WITHOUT_ONE}: Refused, Nothing was touched. measure: {WITHOUT_ONE} has no maintenance revision. Deploy one",
        f"read-only: {MAINTENANCE} with {INSTANCES} instances, annotated with who and why; a read 200, "
        "a write 503, Retry-After 120",
        f"restored: {stable} with 1 instances, not annotated; a read 200, a write 201, ",
    ):
        result.expect(any(text.startswith(expected) for text in happened), f"not in the timeline: {expected}")
    checks.unchanged(result)
    checks.no_failed_requests(result, least=2000)
    answered = result.requests["by_revision"]
    result.expect(answered.get(MAINTENANCE, 0) > 0, "the maintenance revision answered no user")
    for words in ("MITIGATED: scale", "MITIGATED: read-only", "RESTORED: restore"):
        checks.sent_once(result, "slack", f"PRODUCTION {words} {SERVICE}")
    said = [text for text in result.words("slack") if "MITIGATED" in text or "RESTORED" in text]
    result.expect(all(f"Reason: {REASON} ({WHO})" in text for text in said), "a message does not say who and why")
    result.expect(result.watches == 2, f"{result.watches} watches were started, expected those of scale and restore")


SCENARIO = Scenario(
    name="mitigate",
    description="A person scales a service, makes it read-only, and restores it.",
    ends="Passed",
    given=given,
    starts=lambda test_env, version: wanted("scale", instances=INSTANCES),
    meanwhile=meanwhile,
    then=then,
)
