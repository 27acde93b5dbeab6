"""The workflow that builds and scans: its own commands, run with bash as the runner runs them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.checklist.checks import Check
from playbook.checklist.items import Answer, Seen
from playbook.checklist.scan import scan_answer
from playbook.release.request import HotfixRequest
from playbook.release.version import ReleaseRequest, Version

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "abc1234def5678abc1234def5678abc1234def56"
DIGEST = "sha256:" + "ab" * 32
BUILD = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["build"]


def run_step(name: str, folder: Path, **environ: str) -> str:
    """The commands of one step of the job `build`; ``gh`` only notes what it was given. Returns GITHUB_OUTPUT."""
    (folder / "gh").write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n')
    (folder / "gh").chmod(0o755)
    (folder / ".github").symlink_to(ROOT / ".github")
    step = next(one for one in BUILD["steps"] if one.get("name") == name)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(folder / "output"), "GITHUB_SHA": COMMIT}
    given |= {"GITHUB_REPOSITORY": "geoaziz/ethixai"} | environ
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=folder, env=given, check=True, capture_output=True, text=True)
    return (folder / "output").read_text() if (folder / "output").exists() else ""


def scanned(folder: Path, *found: tuple[str, str]) -> dict[str, Any]:
    """The check run that CI leaves for a report with these vulnerabilities (id, severity)."""
    listed = [{"VulnerabilityID": id_, "Severity": severity, "PkgName": "openssl"} for id_, severity in found]
    results = [{"Target": "image"}, {"Target": "python", "Vulnerabilities": listed}]
    report = {"ArtifactName": f"ghcr.io/geoaziz/ethixai-backend@{DIGEST}", "Results": results}
    (folder / "trivy.json").write_text(json.dumps(report))
    run_step("Leave the findings for the release", folder, CHECK="trivy backend")
    assert "repos/geoaziz/ethixai/check-runs" in (folder / "asked").read_text()
    return dict(json.loads((folder / "check.json").read_text()))


def answer(check: dict[str, Any], digest: str = DIGEST) -> Seen:
    """What the release's checklist makes of it."""
    read = Check(name=check["name"], conclusion=check["conclusion"], output=check["output"]["text"])
    return scan_answer([read], "trivy", {"backend": digest}, ["HIGH", "CRITICAL"], [], 0.0)


def test_the_image_has_the_tag_that_a_release_looks_for(tmp_path: Path) -> None:
    """sha- and the commit, as the version names it."""
    output = run_step("Name the image", tmp_path, IMAGE="ghcr.io/geoaziz/ethixai-backend")
    commit = Version.parse(f"v20251116-{COMMIT[:7]}").commit
    assert f"tag=ghcr.io/geoaziz/ethixai-backend:sha-{commit}\n" in output
    assert "registry=ghcr.io\n" in output


def test_a_clean_scan_passes_the_gate_for_its_own_digest_alone(tmp_path: Path) -> None:
    """Another image's scan says nothing about this one."""
    check = scanned(tmp_path)
    assert check["conclusion"] == "success"
    assert check["head_sha"] == COMMIT
    assert answer(check)[0] is Answer.PASS
    assert answer(check, "sha256:" + "cd" * 32)[0] is Answer.CANNOT_TELL


@pytest.mark.parametrize("severity", ["HIGH", "CRITICAL"])
def test_a_bad_finding_fails_the_check_and_the_gate(tmp_path: Path, severity: str) -> None:
    """Playbook 3, step 1.3. A MEDIUM one beside it is only counted."""
    check = scanned(tmp_path, ("CVE-2025-1", "MEDIUM"), ("CVE-2025-2", severity))
    assert check["conclusion"] == "failure"
    assert check["output"]["title"] == f"1 {severity}, 1 MEDIUM"
    found, words, _ = answer(check)
    assert found is Answer.FAIL
    assert "CVE-2025-2" in words


def test_a_report_of_thousands_still_fits_and_keeps_the_worst(tmp_path: Path) -> None:
    """GitHub takes 65,535 characters of a check run's text."""
    low = [(f"CVE-2025-{number}", "LOW") for number in range(5000)]
    check = scanned(tmp_path, *low, ("CVE-2025-9", "CRITICAL"))
    assert len(check["output"]["text"]) < 65_535
    assert answer(check)[0] is Answer.FAIL


WORKFLOWS = ROOT / ".github" / "workflows"
GIVEN = {
    "VERSION": "v20251116-hotfix1-abc123",
    "CHANGES": "Bug fixes",
    "SERVICES": "ethixai-backend, ethixai-frontend",
    "CANARY_PERCENT": "20",
    "OVERRIDES": "on_call: Ada stays; scan: looked at by hand",
    "PLAN_REVIEWED_BY": "Grace",
    "PLAN_ONLY": "true",
    "REASON": "closes a hole",
    "INCIDENT": "CVE-2025-1",
    "APPROVER": "Grace",
    "EXPLOIT": "env:EXPLOIT_USERS; env:EXPLOIT_LOGIN ethixai-ai-core",
    "GITHUB_ACTOR": "ada",
}
"""Every input of deploy-production.yml, as its job sees it."""


def requested(kind: str, **environ: str) -> Any:
    """What request.py makes of the inputs: the parameters of a run."""
    command = ["python3", str(ROOT / ".github" / "request.py"), kind]
    given = {"PATH": os.environ["PATH"], **GIVEN, **environ}
    return json.loads(subprocess.run(command, env=given, check=True, capture_output=True, text=True).stdout)["request"]


@pytest.mark.parametrize(("kind", "form"), [("release", ReleaseRequest), ("hotfix", HotfixRequest)])
def test_the_workflow_offers_every_field_of_the_form(kind: str, form: type[ReleaseRequest | HotfixRequest]) -> None:
    """A field that the form gets later is missing here until the workflow has it."""
    asked = requested(kind)
    assert set(asked) == set(form.model_fields)
    made = form.model_validate(asked)
    assert [str(one.item) for one in made.overrides] == ["on_call", "scan"]
    if isinstance(made, HotfixRequest):
        assert [(one.request, one.service) for one in made.exploit] == [
            ("env:EXPLOIT_USERS", "ethixai-backend"),
            ("env:EXPLOIT_LOGIN", "ethixai-ai-core"),
        ]
    job = yaml.safe_load((WORKFLOWS / "deploy-production.yml").read_text())["jobs"]["release"]
    assert set(GIVEN) - {"GITHUB_ACTOR"} <= set(job["env"])


def test_an_exploit_check_may_be_given_as_json() -> None:
    """The fields of the form; the run refuses what is wrong in it."""
    check = {"request": "env:EXPLOIT_USERS", "refused_with": [403]}
    assert requested("hotfix", EXPLOIT=json.dumps([check]))["exploit"] == [check]


@pytest.mark.parametrize("text", ["api/admin", "GET /api/users/1", "POST /api/login ethixai-backend"])
def test_an_exploit_itself_is_no_input_of_a_workflow(text: str) -> None:
    """It is refused, and not repeated in the job's log."""
    with pytest.raises(subprocess.CalledProcessError) as raised:
        requested("hotfix", EXPLOIT=text)
    assert "give where each check is kept" in raised.value.stderr
    assert text not in raised.value.stderr


def test_every_action_is_pinned_and_no_job_has_more_rights_than_it_names() -> None:
    """A tag can be moved; a commit cannot. Rights are none at the top, and named for each job."""
    for path in WORKFLOWS.glob("*.yml"):
        whole = yaml.safe_load(path.read_text())
        assert whole["permissions"] == {}, path.name
        for job in whole["jobs"].values():
            used = [step["uses"] for step in job.get("steps", ()) if "uses" in step]
            assert not [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", one)]
            assert "permissions" in job


LINTERS = {"actionlint": ["actionlint"], "zizmor": ["zizmor", "--offline", "--quiet"]}


def linted(linter: str, *files: Path) -> tuple[int, str]:
    """The exit code of a linter for these workflows, and what it said."""
    program, *options = LINTERS[linter]
    command = [str(Path(sys.executable).parent / program), *options, *map(str, files)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.returncode, answer.stdout + answer.stderr


@pytest.mark.parametrize("linter", LINTERS)
def test_the_workflows_pass_their_linters(linter: str) -> None:
    """actionlint finds what GitHub would refuse, and zizmor finds security problems."""
    code, said = linted(linter, *sorted(WORKFLOWS.glob("*.yml")))
    assert code == 0, said


WORKFLOW = """on: issues
permissions: {}
jobs:
  one:
    runs-on: ubuntu-latest
    permissions: {}
    steps:
      - run: echo done
"""


@pytest.mark.parametrize(
    ("linter", "old", "new", "says"),
    [
        ("actionlint", "echo done", "echo ${{ githb.event_name }}", "undefined variable"),
        ("actionlint", "    permissions", "    needs: two\n    permissions", "does not exist"),
        ("zizmor", "echo done", "echo ${{ github.event.issue.title }}", "template-injection"),
        ("zizmor", "run: echo done", "uses: someone/action@v1", "unpinned-uses"),
    ],
    ids=["an unknown context", "a job that needs none", "a title that becomes a command", "a tag that can move"],
)
def test_the_linters_fail_on_a_bad_workflow(linter: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    """They really run: the same workflow without the fault passes."""
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    path = folder / "bad.yml"
    path.write_text(WORKFLOW)
    assert linted(linter, path)[0] == 0, linted(linter, path)[1]
    path.write_text(WORKFLOW.replace(old, new, 1))
    code, said = linted(linter, path)
    assert (code != 0, says in said) == (True, True), said
