"""The third way to start a release: GitHub Actions. The workflows' own steps, run with bash as the runner runs them."""

import asyncio
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.release.version import ReleaseRequest
from rehearsal.test_environment import SERVICES, STAGING, TestEnvironment

ROOT = Path(__file__).resolve().parents[2]
BROKEN_START = {"ethixai-ai-core": "dies"}
EXPRESSION = re.compile(r"\$\{\{\s*(!?)\s*(inputs|vars|secrets)\.(\w+)\s*\}\}")
Inputs = Mapping[str, str | bool]


def workflow(name: str) -> tuple[dict[str, Any], dict[str, str | bool]]:
    """The one job of a workflow, and the defaults of its inputs."""
    # YAML 1.1 reads the key `on` as true.
    whole = yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())
    inputs = (whole[True].get("workflow_dispatch") or {}).get("inputs", {})
    return whole["jobs"]["release"], {key: one["default"] for key, one in inputs.items()}


def evaluated(text: str, contexts: Mapping[str, Inputs]) -> str | bool:
    """What an expression is worth; a text without one is itself. Fails on what this runner was not taught."""
    found = EXPRESSION.fullmatch(text)
    if found is None:
        assert "${{" not in text, f"not taught: {text}"
        return text
    value = contexts[found[2]].get(found[3], "")
    return not value if found[1] else value


def environment(step: Mapping[str, Any], contexts: Mapping[str, Inputs]) -> dict[str, str]:
    """The ``env:`` of a job or a step, as its commands see it."""
    values = {name: evaluated(text, contexts) for name, text in step.get("env", {}).items()}
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in values.items()}


async def run_workflow(
    name: str, summary: Path, url: str, login: str = "", inputs: Inputs | None = None, **github: str
) -> tuple[int, str]:
    """Run a workflow's commands with bash, each if its ``if:`` holds, with the job's and its own ``env:``.

    Returns the first bad exit code (or 0), and the output.
    """
    job, defaults = workflow(name)
    assert not set(inputs or {}) - set(defaults)
    contexts: dict[str, Inputs] = {
        "inputs": {**defaults, **(inputs or {})},
        "vars": {"PREFECT_API_URL": url},
        "secrets": {"PREFECT_API_AUTH_STRING": login},
    }
    of_runner = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "no_proxy": os.environ["no_proxy"],
        "POLL_SECONDS": "0.5",
        "GITHUB_STEP_SUMMARY": str(summary),
        "GITHUB_ACTOR": "ada",
        "GITHUB_RUN_ID": summary.parent.name,
        "GITHUB_RUN_ATTEMPT": "1",
    }
    said = ""
    for step in job["steps"]:
        if "run" not in step or not evaluated(step.get("if", "always"), contexts):
            continue
        environ = of_runner | github | environment(job, contexts) | environment(step, contexts)
        process = await asyncio.create_subprocess_exec(
            "bash", "-e", "-c", step["run"],
            cwd=ROOT, env=environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        said += out.decode()
        if process.returncode:
            return process.returncode, said
    return 0, said


PAGES = [
    {"key": "production-now", "type": "markdown", "description": "What serves production now", "data": "not this one"},
    {
        "key": "production-v20251116-abc123-1f2e3d",
        "type": "markdown",
        "description": "v20251116-abc123: 10 % of users are on the canary",
        "data": "## v20251116-abc123 to production: Reverted\n\n| service | errors |\n|---|---|\n"
        "| backend | 4.8 % <b>@team</b> |\n![chart](data:image/svg+xml;base64,AA)\n\n### What it changes\n\nnot shown",
    },
]
SERVES = [{"data": "# production serves v20251115-def456\n\n## The last ten runs\n\nnot shown"}]


@contextmanager
def prefect_that_says(state_type: str) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """The three routes that the script asks; every run ends so. Yields the API's URL and what it was asked to start."""
    started: list[tuple[str, Any]] = []

    class Api(BaseHTTPRequestHandler):
        """Prefect's REST API, as far as it is asked here."""

        def answer(self, body: Any) -> None:
            payload = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def do_GET(self) -> None:
            name = self.path.removeprefix("/api/deployments/name/")
            state = {"type": state_type, "name": state_type.capitalize(), "message": "why"}
            self.answer({"id": "r", "state": state} if "/flow_runs/" in self.path else {"id": name})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path.endswith("/artifacts/filter"):
                wanted = body["artifacts"]
                self.answer(SERVES if "key" in wanted else PAGES)
                return
            started.append((self.path.removeprefix("/api/deployments/").removesuffix("/create_flow_run"), body))
            self.answer({"id": "r", "name": "a run"})

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing is printed."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api", started
        server.shutdown()


HOTFIX: Inputs = {
    "skip_canary": True,
    "version": "v20251116-hotfix1-abc123",
    "reason": 'a hole, "deep"',
    "incident": "CVE-2025-12345",
    "approver": "the security lead",
}


@pytest.mark.parametrize(("state_type", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CRASHED", 2), ("CANCELLED", 3)])
async def test_the_exit_code_of_the_job_follows_the_state_of_the_run(
    tmp_path: Path, state_type: str, code: int
) -> None:
    """Completed, failed, crashed and cancelled have different exit codes; the job's summary has the state."""
    summary = tmp_path / "summary.md"
    with prefect_that_says(state_type) as (url, started):
        found, said = await run_workflow("deploy-production.yml", summary, url)
    assert found == code, said
    assert state_type.capitalize() in summary.read_text()
    ((deployment, body),) = started
    assert deployment == "release/production"
    asked = {"version": "", "changes": "", "requested_by": "ada (GitHub Actions)"}
    assert body["parameters"] == {"request": asked}


async def test_the_summary_shows_the_page_and_what_serves_now(tmp_path: Path) -> None:
    """Outcome, signals and what serves, in the job's log and summary; no picture, no HTML, no mention."""
    summary = tmp_path / "summary.md"
    with prefect_that_says("FAILED") as (url, _):
        _, said = await run_workflow("deploy-production.yml", summary, url)
    for text in (said, summary.read_text()):
        assert "v20251116-abc123 to production: Reverted" in text
        assert "| backend | 4.8 % &lt;b>@\u2060team&lt;/b> |" in text
        assert "# production serves v20251115-def456" in text
        assert "not " not in text.replace("not started", "")
        assert "base64" not in text


async def test_a_run_under_way_prints_a_line_a_minute(tmp_path: Path) -> None:
    """It says the time, the state, and the step that the release's page names."""
    environ = {"PREFECT_API_AUTH_STRING": "", "POLL_SECONDS": "0.05", "LINE_SECONDS": "0.1", "PATH": os.environ["PATH"]}
    with prefect_that_says("RUNNING") as (url, _):
        process = await asyncio.create_subprocess_exec(
            sys.executable, ".github/run_deployment.py", "release/production", "--key", "k",
            cwd=ROOT, env=environ | {"PREFECT_API_URL": url}, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode() for _ in range(4)]
        process.kill()
        await process.wait()
    assert re.fullmatch(r"[0-9]{2}:[0-9]{2} UTC Running: v20251116-abc123: 10 % of users are on the canary\n", lines[2])
    assert lines[3][9:] == lines[2][9:]


async def test_skip_canary_starts_a_hotfix_and_no_release(tmp_path: Path) -> None:
    """Of the two steps the one whose ``if:`` holds, with every input in its place."""
    with prefect_that_says("COMPLETED") as (url, started):
        code, said = await run_workflow("deploy-production.yml", tmp_path / "summary.md", url, inputs=HOTFIX)
    assert code == 0, said
    ((deployment, body),) = started
    wanted = {key: value for key, value in HOTFIX.items() if key != "skip_canary"}
    assert deployment == "hotfix/production"
    assert body["parameters"] == {"request": wanted | {"requested_by": "ada (GitHub Actions)"}}


async def test_every_input_of_a_release_reaches_its_request(tmp_path: Path) -> None:
    """Services, share, plan only, and an override for each item, by the person who ran the workflow."""
    inputs: Inputs = {
        "services": "ethixai-backend, ethixai-frontend",
        "canary_percent": "20",
        "overrides": "ci: scanned by hand; load_test: as last week: fine",
        "plan_only": True,
    }
    with prefect_that_says("COMPLETED") as (url, started):
        code, said = await run_workflow("deploy-production.yml", tmp_path / "summary.md", url, inputs=inputs)
    assert code == 0, said
    asked = ReleaseRequest.model_validate(started[0][1]["parameters"]["request"])
    assert (asked.services, asked.canary_percent, asked.plan_only) == (
        ["ethixai-backend", "ethixai-frontend"],
        20,
        True,
    )
    assert [(one.item, one.by, one.reason) for one in asked.overrides] == [
        ("ci", "ada", "scanned by hand"),
        ("load_test", "ada", "as last week: fine"),
    ]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [({"overrides": "looked at by hand"}, "is not ITEM: REASON"), ({"canary_percent": "many"}, "is no whole number")],
)
async def test_an_input_that_cannot_be_read_starts_nothing(tmp_path: Path, inputs: Inputs, says: str) -> None:
    """The job fails with a sentence that names the input."""
    with prefect_that_says("COMPLETED") as (url, started):
        code, said = await run_workflow("deploy-production.yml", tmp_path / "summary.md", url, inputs=inputs)
    assert (code != 0, says in said, started) == (True, True, [])


@pytest.mark.parametrize("missing", ["version", "reason", "incident", "approver"])
async def test_skip_canary_without_a_required_input_starts_nothing(tmp_path: Path, missing: str) -> None:
    """Exit status 1, no run, and the refusal names the input: in the log and in the job's summary."""
    summary = tmp_path / "summary.md"
    with prefect_that_says("COMPLETED") as (url, started):
        code, said = await run_workflow("deploy-production.yml", summary, url, inputs={**HOTFIX, missing: ""})
    assert code == 1, said
    assert started == []
    for text in (said, summary.read_text()):
        assert f"needs these inputs too: {missing}. Nothing was started." in text


async def test_a_merge_to_main_is_released_to_staging_once(test_env: TestEnvironment, tmp_path: Path) -> None:
    """The workflow on main promotes in staging and exits 0; a second delivery starts no second run."""
    await test_env.clean(users_per_s=0)
    version = test_env.new_version()
    commit = version.rsplit("-", 1)[-1]
    await test_env.publish(version, BROKEN_START)
    summary, server = tmp_path / "summary.md", test_env.server
    code, said = await run_workflow("deploy-staging.yml", summary, server.api_url, server.auth, GITHUB_SHA=commit)
    assert code == 0, said
    assert "Promoted" in summary.read_text()
    served = await test_env.world.served(STAGING)
    assert all(commit[:7] in next(iter(served[service])) for service in SERVICES)
    before = len(await test_env.prefect.runs_of("release/staging"))
    code, said = await run_workflow("deploy-staging.yml", summary, server.api_url, server.auth, GITHUB_SHA=commit)
    assert code == 0, said
    assert len(await test_env.prefect.runs_of("release/staging")) == before


async def test_the_production_workflow_reports_the_outcome_of_a_real_run(
    test_env: TestEnvironment, tmp_path: Path
) -> None:
    """A reverted release is exit status 1, with the outcome and a link in the job's summary."""
    await test_env.clean(users_per_s=0)
    version = test_env.new_version()
    await test_env.publish(version, BROKEN_START)
    summary, server = tmp_path / "summary.md", test_env.server
    inputs: Inputs = {"version": version, "changes": 'with "quotes"'}
    code, said = await run_workflow("deploy-production.yml", summary, server.api_url, server.auth, inputs)
    assert code == 1, said
    assert "Reverted" in summary.read_text()
    assert f"{server.ui_url}/v2/runs/flow-run/" in summary.read_text()


PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "a wrong credential": ({"login": "admin:wrong"}, "PREFECT_API_AUTH_STRING"),
    "an unreachable server": ({"url": "http://127.0.0.1:9/api", "POLL_SECONDS": "0.01"}, "does not answer"),
    "no URL": ({"url": ""}, "set the repository variable"),
    "a server without the deployment": ({"inputs": {"environment": "nowhere"}}, "make deploy"),
}


@pytest.mark.parametrize(("wrong", "word"), PROBLEMS.values(), ids=PROBLEMS)
async def test_a_workflow_that_cannot_start_the_run_gives_the_reason(
    test_env: TestEnvironment, tmp_path: Path, wrong: dict[str, Any], word: str
) -> None:
    """Exit status 4, and one sentence that names what to correct."""
    summary = tmp_path / "summary.md"
    given = {"url": test_env.server.api_url, "login": test_env.server.auth, **wrong}
    code, said = await run_workflow("deploy-production.yml", summary, **given)
    assert code == 4, said
    assert word in said
    assert word in summary.read_text()
