"""The workflow that builds and scans: its own commands, run with bash as the runner runs them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.checklist.checks import Check
from playbook.checklist.items import Answer
from playbook.checklist.scan import scan_answer
from playbook.release.version import Version

ROOT = Path(__file__).resolve().parents[1]
COMMIT = "abc1234def5678abc1234def5678abc1234def56"
DIGEST = "sha256:" + "ab" * 32
BUILD = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]["build"]


def run_step(name: str, folder: Path, **environ: str) -> str:
    """The commands of one step of the job `build`; ``gh`` only notes what it was given. Returns GITHUB_OUTPUT."""
    (folder / "gh").write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\n')
    (folder / "gh").chmod(0o755)
    step = next(one for one in BUILD["steps"] if one.get("name") == name)
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_OUTPUT": str(folder / "output"), "GITHUB_SHA": COMMIT}
    given |= {"GITHUB_REPOSITORY": "geoaziz/ethixai"} | environ
    subprocess.run(["bash", "-e", "-c", step["run"]], cwd=folder, env=given, check=True, capture_output=True, text=True)
    return (folder / "output").read_text() if (folder / "output").exists() else ""


def scanned(folder: Path, *found: tuple[str, str]) -> dict[str, Any]:
    """The check run that CI leaves for a report with these vulnerabilities (id, severity)."""
    listed = [{"VulnerabilityID": id_, "Severity": severity, "PkgName": "openssl"} for id_, severity in found]
    report = {"Results": [{"Target": "image"}, {"Target": "python", "Vulnerabilities": listed}]}
    (folder / "trivy.json").write_text(json.dumps(report))
    run_step("Leave the findings for the release", folder, CHECK="trivy backend", DIGEST=DIGEST)
    assert "repos/geoaziz/ethixai/check-runs" in (folder / "asked").read_text()
    return dict(json.loads((folder / "check.json").read_text()))


def answer(check: dict[str, Any], digest: str = DIGEST) -> tuple[Answer, str]:
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
    found, words = answer(check)
    assert found is Answer.FAIL
    assert "CVE-2025-2" in words


def test_a_report_of_thousands_still_fits_and_keeps_the_worst(tmp_path: Path) -> None:
    """GitHub takes 65,535 characters of a check run's text."""
    low = [(f"CVE-2025-{number}", "LOW") for number in range(5000)]
    check = scanned(tmp_path, *low, ("CVE-2025-9", "CRITICAL"))
    assert len(check["output"]["text"]) < 65_535
    assert answer(check)[0] is Answer.FAIL
