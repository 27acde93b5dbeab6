"""An unmodified gcloud runs the playbook's own commands on the world; through a proxy that lets nothing out."""

import asyncio
import json
import os
import shlex
import shutil
import ssl

import httpx
import pytest
from google.cloud.logging_v2.types import LogEntry

from playbook.lease.lease import ReleaseLease, ServiceRollout
from playbook.messages.chat import starting
from playbook.release.traffic import TrafficSplit
from rehearsal.world.gateway import is_ours
from rehearsal.world.gcloud import UNWANTED, commands_in, run_text

COMMAND_TIMEOUT_S = 90
BACKEND = "ethixai-backend"
HERE = ("--region", "us-east1")
needs_gcloud = pytest.mark.skipif(
    shutil.which("gcloud") is None, reason="gcloud is not installed: the playbook's own commands were not run"
)


class Gcloud:
    """gcloud with the variables that `rehearsal up` prints, and nothing else of the surroundings'."""

    def __init__(self, environ: dict[str, str]) -> None:
        ours = {key: value for key, value in os.environ.items() if not key.startswith("CLOUDSDK_")}
        self.environ = {key: value for key, value in {**ours, **environ}.items() if key not in UNWANTED}

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """gcloud has been started with these words."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec("gcloud", *words, env=self.environ, stdout=pipe, stderr=pipe)

    async def __call__(self, *words: str, fails: bool = False) -> str:
        """What gcloud printed, errors included."""
        process = await self.start(*words)
        out, err = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
        assert bool(process.returncode) is fails, (words, err.decode())
        return out.decode() + err.decode()


@pytest.fixture
def gcloud(cloud) -> Gcloud:
    """gcloud on the world as it is at the start."""
    return Gcloud(cloud.world.gcloud_environ)


@needs_gcloud
async def test_describe_and_revisions_list(cloud, gcloud: Gcloud) -> None:
    """The playbook's columns show the stable revision with all users."""
    columns = "--format=table(status.traffic.revisionName,status.traffic.percent)"
    shown = await gcloud("run", "services", "describe", BACKEND, *HERE, columns)
    assert cloud.STABLE in shown
    assert "100" in shown
    columns = "--format=table(metadata.name,status.conditions.lastTransitionTime,status.conditions.status)"
    shown = await gcloud("run", "revisions", "list", f"--service={BACKEND}", "--region=us-east1", columns)
    assert cloud.STABLE in shown
    assert "True" in shown


@needs_gcloud
async def test_update_traffic_rolls_back(cloud, gcloud: Gcloud) -> None:
    """gcloud waits for the operation; users are back; a tag of the canary stays, and no revision was made."""
    await cloud.deploy("ethixai-backend-v2", traffic=[cloud.target("ethixai-backend-v2", 100, "canary")])
    said = await gcloud("run", "services", "update-traffic", BACKEND, *HERE, f"--to-revisions={cloud.STABLE}=100")
    assert "Done." in said
    assert await cloud.served() == {cloud.STABLE: 100}
    state = await cloud.world.service(BACKEND)
    assert list(state["tags"]) == ["canary"]
    assert len(state["revisions"]) == 2
    assert [write["method"] for write in await cloud.world.writes()][-1] == "Services.ReplaceService"


@needs_gcloud
async def test_a_stale_version_is_what_gcloud_reports(cloud, gcloud: Gcloud) -> None:
    """A write that another one has overtaken ends in the message that users of gcloud report."""
    conflict = "Conflict for resource 'ethixai-backend': version '1' was specified but current version is '2'."
    await cloud.world.fault("Services.ReplaceService", "ABORTED", message=conflict)
    words = ("run", "services", "update-traffic", BACKEND, *HERE, f"--to-revisions={cloud.STABLE}=100")
    assert conflict in await gcloud(*words, fails=True)


@needs_gcloud
async def test_update_of_the_instances_makes_revisions(cloud, gcloud: Gcloud) -> None:
    """Min and max 0 leave the service wide open (0 is the server's default); 3 and 13 are what is asked for."""
    await cloud.shift(cloud.target(cloud.STABLE, 100))
    await gcloud("run", "services", "update", BACKEND, *HERE, "--min-instances=0", "--max-instances=0")
    scaling = (await cloud.get()).template.scaling
    assert (scaling.min_instance_count, scaling.max_instance_count) == (0, 100)
    assert await cloud.served() == {cloud.STABLE: 100}
    await gcloud("run", "services", "update", BACKEND, "--min-instances=3", "--max-instances=13")
    scaling = (await cloud.get()).template.scaling
    assert (scaling.min_instance_count, scaling.max_instance_count) == (3, 13)


@needs_gcloud
async def test_a_preview_is_deployed_by_hand(cloud, gcloud: Gcloud) -> None:
    """``deploy --no-traffic --tag``: a revision with a tag, and users stay where they are."""
    digest = await cloud.world.publish(cloud.REPOSITORY, "preview", {"BEHAVIOUR": "healthy"})
    image = f"--image={cloud.REPOSITORY}@{digest}"
    await gcloud("run", "deploy", BACKEND, *HERE, image, "--no-traffic", "--tag=pr-12")
    assert await cloud.served() == {cloud.STABLE: 100}
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get((await cloud.world.service(BACKEND))["tags"]["pr-12"] + "/health/readiness")
    assert answer.headers["x-rehearsal-revision"] != cloud.STABLE


@needs_gcloud
async def test_logs_are_read(cloud, gcloud: Gcloud) -> None:
    """The playbook's query of one revision, as JSON."""
    revision = f"resource.type=cloud_run_revision AND resource.labels.revision_name={cloud.STABLE}"
    shown = await gcloud("logging", "read", f"{revision} AND severity>=DEFAULT", "--limit=100", "--format=json")
    entries = json.loads(shown)
    assert {entry["resource"]["labels"]["revision_name"] for entry in entries} == {cloud.STABLE}


@needs_gcloud
async def test_logs_are_tailed(cloud, gcloud: Gcloud) -> None:
    """``beta logging tail`` gets what is written while it runs, over gRPC through the same proxy."""
    if "beta" not in json.loads(await gcloud("version", "--format=json")):
        pytest.skip("gcloud has no beta component: logging tail was not run")
    tail = await gcloud.start("beta", "logging", "tail", "logName:hello", "--format=json")

    async def write() -> None:
        while True:
            entry = LogEntry(log_name="projects/ethixai-production/logs/hello", text_payload="tailed")
            entry.resource.type = "global"
            await cloud.logging.write_log_entries(entries=[entry])
            await asyncio.sleep(0.5)

    writing = asyncio.create_task(write())
    seen = b""
    try:
        assert tail.stdout
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            while b"tailed" not in seen:
                chunk = await tail.stdout.read(4096)
                assert chunk or b"tailed" in seen, await tail.stderr.read()
                seen += chunk
    finally:
        writing.cancel()
        if tail.returncode is None:
            tail.kill()
        await tail.communicate()


async def test_the_commands_of_the_start_message_roll_back(cloud) -> None:
    """The very text that stands in the channel, pasted into a shell: all users of each service are back. Without gcloud
    the text is still what a shell takes."""
    await cloud.deploy("ethixai-backend-v2", traffic=[cloud.target("ethixai-backend-v2", 100, "c-1f2e3d")])
    rollout = ServiceRollout(
        service=BACKEND,
        from_revision=cloud.STABLE,
        found=TrafficSplit.all_to(cloud.STABLE),
        to_revision="ethixai-backend-v2",
        image="r@sha256:1",
    )
    lease = ReleaseLease(
        release_id="v20251116-abc123-1f2e3d",
        version="v20251116-abc123",
        flow_run_id="123e4567-e89b-12d3-a456-426614174000",
        epoch=1,
        rollouts=(rollout,),
        canary_percent=10,
        deadline_s=1,
        place="--project=ethixai-production --region=us-east1",
    )
    text = starting(lease, "production", 0, 900, "Bug fixes").text
    (command,) = commands_in(text)
    words = shlex.split(command.replace("\\\n", ""))
    assert words[:5] == ["gcloud", "run", "services", "update-traffic", BACKEND]
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not installed: the start message's commands were not run")
    status, said = await run_text(command, cloud.world.gcloud_environ)
    assert status == 0, said
    assert await cloud.served() == {cloud.STABLE: 100}


async def test_nothing_leaves_the_machine(cloud) -> None:
    """A CONNECT to a host that is not Google's, or to another port, is refused with a clear word."""
    address = ("127.0.0.1", int(cloud.world.gcloud_environ["CLOUDSDK_PROXY_PORT"]))
    for target in ("example.com:443", "us-east1-run.googleapis.com:80", "googleapis.com.example.com:443"):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        assert answer.startswith("HTTP/1.1 403 Forbidden")
        assert f"{target} is not part of the rehearsal, and nothing leaves this machine." in answer


@pytest.mark.parametrize("host", ["x.y.googleapis.com", "googleapis.com", "run.googleapis.com.evil.example", ".com"])
def test_a_host_outside_the_certificate_is_not_ours(host: str) -> None:
    """One label before ``googleapis.com``, and nothing after it."""
    assert not is_ours(host)


async def test_hosts_are_routed_by_name(cloud) -> None:
    """Cloud Run's hosts answer v1, the region is the host's; serviceusage is 404; Logging does not answer for Run."""
    environ = cloud.world.gcloud_environ
    trusted = ssl.create_default_context(cafile=environ["CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"])
    proxy = f"http://127.0.0.1:{environ['CLOUDSDK_PROXY_PORT']}"
    headers = {"authorization": f"Bearer {await cloud.world.access_token()}"}
    path = "/apis/serving.knative.dev/v1/namespaces/ethixai-production/services/ethixai-backend"
    async with httpx.AsyncClient(proxy=proxy, verify=trusted, trust_env=False, headers=headers) as http:
        statuses = {
            host: (await http.get(f"https://{host}.googleapis.com{path}")).status_code
            for host in ("us-east1-run", "run", "europe-west1-run", "logging", "serviceusage")
        }
    assert statuses == {"us-east1-run": 200, "run": 200, "europe-west1-run": 404, "logging": 404, "serviceusage": 404}
