"""Three ways to start a release, each against a real Prefect server: the UI's route, the schedule, GitHub Actions."""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rehearsal.stage import Stage
from rehearsal.story import PRODUCTION, SERVICES, STAGING, Story

ROOT = Path(__file__).resolve().parents[2]
GOOD = Story(name="good", told="", ends="Promoted")
STILLBORN = Story(name="stillborn", told="", ends="Reverted", behaviours={"ethixai-ai-core": "dies"})


def steps(workflow: str) -> list[dict[str, Any]]:
    """The steps of the one job of a workflow that run a command."""
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / workflow).read_text())["jobs"]
    return [step for step in jobs["release"]["steps"] if "run" in step]


async def run_workflow(stage: Stage, workflow: str, summary: Path, **environ: str) -> tuple[int, str]:
    """Run the workflow's commands with bash, as the runner does.

    Returns the first bad exit code (or 0), and the output.
    """
    base = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PREFECT_API_URL": stage.server.api_url,
        "PREFECT_API_AUTH_STRING": stage.server.auth,
        "POLL_SECONDS": "0.5",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_ACTOR": "ada",
        "GITHUB_RUN_ID": summary.parent.name,
        "GITHUB_RUN_ATTEMPT": "1",
    }
    said = ""
    for step in steps(workflow):
        process = await asyncio.create_subprocess_exec(
            "bash", "-e", "-o", "pipefail", "-c", step["run"],
            cwd=ROOT, env=base | environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        said += out.decode()
        if process.returncode:
            return process.returncode, said
    return 0, said


PRODUCTION_INPUTS = {
    "ENVIRONMENT": "production",
    "VERSION": "",
    "CHANGES": "",
    "SKIP_CANARY": "false",
    "REASON": "",
    "INCIDENT": "",
    "APPROVER": "",
}


async def test_a_wrong_request_from_the_ui_is_refused_with_every_mistake_named(stage: Stage) -> None:
    """A run created as the UI does it ends Refused before any write, and says what to correct."""
    await stage.clean(users_per_s=0)
    request = {"version": "1.2.3", "services": ["ethixai-backend", "nonsense"], "canary_percent": 101}
    run = await stage.prefect.start("release/production", {"request": request, "environment": "production"})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "Refused"
    for field in ("version:", "services:", "canary_percent:"):
        assert field in run.message
    assert await stage.world.writes() == []


async def test_the_flight_check_tries_every_door_and_changes_nothing(stage: Stage) -> None:
    """It passes where all is well, names the door that is closed where one is, and never writes."""
    await stage.clean(users_per_s=0)
    run = await stage.prefect.start("flight-check/production", {"environment": "production"})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "Passed", run.message
    await stage.world.deny("releaser@*", "Services.UpdateService")
    run = await stage.prefect.start("flight-check/production", {"environment": "production"})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "Unfit", run.message
    assert "Cloud Run, writing ethixai-backend" in run.message
    assert not [write for write in await stage.world.writes() if write["applied"] and write["code"] == "OK"]


async def test_the_server_holds_the_weekly_release(stage: Stage) -> None:
    """Runs of release/production are scheduled by the server itself, at Thursdays 14:00 UTC and at no other time."""
    for _ in range(60):
        runs = [run for run in await stage.prefect.scheduled("release/production") if run["auto_scheduled"]]
        if runs:
            break
        await asyncio.sleep(1)
    instants = [datetime.fromisoformat(run["expected_start_time"]).astimezone(UTC) for run in runs]
    assert instants
    assert {(at.isoweekday(), at.hour, at.minute, at.second) for at in instants} == {(4, 14, 0, 0)}


async def test_a_merge_to_main_goes_to_staging_and_the_schedule_takes_it_from_there(
    stage: Stage, tmp_path: Path
) -> None:
    """The workflow on main promotes in staging and exits 0; the weekly run finds that version by itself; delivered
    twice it is one run."""
    await stage.clean(users_per_s=0)
    version = stage.new_version()
    commit = version.rsplit("-", 1)[-1]
    await stage.publish(version, STILLBORN)
    summary = tmp_path / "summary.md"
    inputs = {"GITHUB_SHA": commit}
    code, said = await run_workflow(stage, "deploy-staging.yml", summary, **inputs)
    assert code == 0, said
    assert "Promoted" in summary.read_text()
    served = await stage.world.served(STAGING)
    assert all(commit[:7] in next(iter(served[service])) for service in SERVICES)
    before = len(await stage.prefect.runs_of("release/staging"))
    code, said = await run_workflow(stage, "deploy-staging.yml", summary, **inputs)
    assert code == 0, said
    assert len(await stage.prefect.runs_of("release/staging")) == before

    weekly = await stage.prefect.schedule_parameters("release/production")
    run = await stage.prefect.start("release/production", {"environment": "production", **weekly})
    run = await stage.prefect.wait(run.id, 120)
    assert run.state == "Reverted", run.message
    assert (
        version.rsplit("-", 1)[-1] in run.message
    )  # the version that passed staging, whose ai-core dies in production


async def test_the_schedule_finds_nothing_where_nothing_is_new(stage: Stage) -> None:
    """Without a version that passed staging the weekly run ends NothingToRelease, and production sees no write."""
    await stage.clean(users_per_s=0)
    weekly = await stage.prefect.schedule_parameters("release/production")
    run = await stage.prefect.start("release/production", {"environment": "production", **weekly})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "NothingToRelease", run.message
    assert not [write for write in await stage.world.writes() if f"/{PRODUCTION}/" in write["resource"]]


async def test_the_production_workflow_exits_as_the_run_ended(stage: Stage, tmp_path: Path) -> None:
    """A reverted release is exit status 1, with the outcome and a link in the job's summary."""
    await stage.clean(users_per_s=0)
    version = stage.new_version()
    await stage.publish(version, STILLBORN)
    summary = tmp_path / "summary.md"
    code, said = await run_workflow(
        stage, "deploy-production.yml", summary, **PRODUCTION_INPUTS | {"VERSION": version, "CHANGES": 'with "quotes"'}
    )
    assert code == 1, said
    assert "Reverted" in summary.read_text()
    assert f"{stage.server.ui_url}/runs/flow-run/" in summary.read_text()


TROUBLE = {
    "a wrong credential": ({"PREFECT_API_AUTH_STRING": "admin:wrong"}, "PREFECT_API_AUTH_STRING"),
    "an unreachable server": ({"PREFECT_API_URL": "http://127.0.0.1:9/api", "POLL_SECONDS": "0.01"}, "does not answer"),
    "no URL": ({"PREFECT_API_URL": ""}, "set the repository variable"),
    "a server without the deployment": ({"ENVIRONMENT": "nowhere"}, "prefect deploy --all"),
}


@pytest.mark.parametrize(("environ", "word"), TROUBLE.values(), ids=TROUBLE)
async def test_a_workflow_that_cannot_start_the_run_says_why(
    stage: Stage, tmp_path: Path, environ: dict[str, str], word: str
) -> None:
    """Exit status 4, and one sentence that names what to correct."""
    summary = tmp_path / "summary.md"
    code, said = await run_workflow(stage, "deploy-production.yml", summary, **PRODUCTION_INPUTS | environ)
    assert code == 4, said
    assert word in said
    assert word in summary.read_text()


@pytest.mark.parametrize("linter", [["actionlint"], ["zizmor", "--offline", "--quiet"]], ids=lambda c: c[0])
def test_the_workflows_pass_their_linters(linter: list[str]) -> None:
    """What GitHub would refuse, and what an attacker would like, is found here."""
    import subprocess

    program = str(Path(sys.executable).parent / linter[0])
    files = [str(path) for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
    answer = subprocess.run([program, *linter[1:], *files], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
