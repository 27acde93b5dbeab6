"""The result of the image scan: a scan that did not run, or of another image, is not a pass."""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from playbook.checklist.checks import Check
from playbook.checklist.gates import Ignored
from playbook.checklist.items import Answer
from playbook.checklist.scan import scan_answer

A, B = ("sha256:" + letter * 64 for letter in "ab")
NOW_S = 1_763_647_200.0  # 2025-11-20
CVE = {"id": "CVE-2025-1", "severity": "HIGH", "package": "openssl"}


def output(**found: Any) -> str:
    """What CI writes: digest (by its letter) -> vulnerabilities."""
    scans = [{"digest": "sha256:" + one * 64, "vulnerabilities": some} for one, some in found.items()]
    return f"Scanned.\n```json\n{json.dumps({'scans': scans})}\n```\n"


def run(text: str = "", conclusion: str = "success", name: str = "trivy") -> Check:
    """One check run."""
    return Check(name=name, conclusion=conclusion, output=text)


def ignored(until: date) -> Ignored:
    """The finding is accepted until that day."""
    return Ignored(id="CVE-2025-1", until=until, reason="not reachable")


def many(count: int, severity: str = "HIGH") -> list[dict[str, str]]:
    """So many findings, CVE-0 and on."""
    return [{"id": f"CVE-{number}", "severity": severity} for number in range(count)]


CASES: dict[str, tuple[list[Check], list[Ignored], Answer, str]] = {
    "clean": ([run(output(a=[], b=[]))], [], Answer.PASS, "backend: no vulnerabilities"),
    "bare JSON": ([run(json.dumps({"scans": [{"digest": A}, {"digest": B}]}))], [], Answer.PASS, "no vulnerabilities"),
    "a run for each image": (
        [run(output(a=[]), name="trivy (backend)"), run(output(b=[]), name="trivy (ai-core)")],
        [],
        Answer.PASS,
        "ai-core: no vulnerabilities",
    ),
    "a low finding": ([run(output(a=[{**CVE, "severity": "LOW"}], b=[]))], [], Answer.PASS, "backend: 1 LOW"),
    "a high finding": ([run(output(a=[CVE], b=[]))], [], Answer.FAIL, "backend: 1 HIGH (CVE-2025-1)"),
    "in small letters": ([run(output(a=[{**CVE, "severity": "critical"}], b=[]))], [], Answer.FAIL, "1 CRITICAL"),
    "accepted until tomorrow": (
        [run(output(a=[CVE], b=[]), "failure")],
        [ignored(date(2025, 11, 21))],
        Answer.PASS,
        "accepted for now: CVE-2025-1",
    ),
    "accepted until today": (
        [run(output(a=[CVE], b=[]), "failure")],
        [ignored(date(2025, 11, 20))],
        Answer.PASS,
        "accepted for now",
    ),
    "accepted until yesterday": (
        [run(output(a=[CVE], b=[]), "failure")],
        [ignored(date(2025, 11, 19))],
        Answer.FAIL,
        "accepted until a day that is over",
    ),
    "another finding is accepted": (
        [run(output(a=[{**CVE, "id": "CVE-2025-2"}], b=[]))],
        [ignored(date(2025, 12, 1))],
        Answer.FAIL,
        "CVE-2025-2",
    ),
    "with a blank before its severity": (
        [run(output(a=[{**CVE, "severity": " HIGH"}], b=[]))],
        [],
        Answer.FAIL,
        "backend: 1 HIGH (CVE-2025-1)",
    ),
    "a severity of another scanner": (
        [run(output(a=[{**CVE, "severity": "Important"}], b=[]))],
        [],
        Answer.CANNOT_TELL,
        "CVE-2025-1 is 'Important'; a severity is one of CRITICAL, HIGH, MEDIUM, LOW, UNKNOWN",
    ),
    "without a severity": (
        [run(output(a=[{**CVE, "severity": ""}], b=[]))],
        [],
        Answer.CANNOT_TELL,
        "CVE-2025-1 is ''",
    ),
    "a clean second result": (
        [run(output(a=[CVE], b=[])), run(output(a=[], b=[]))],
        [],
        Answer.FAIL,
        "backend: 1 HIGH (CVE-2025-1)",
    ),
    "one image twice in a result": (
        [run(json.dumps({"scans": [{"digest": A, "vulnerabilities": [CVE]}, {"digest": A}, {"digest": B}]}))],
        [],
        Answer.FAIL,
        "backend: 1 HIGH (CVE-2025-1)",
    ),
    "what is accepted did not fail it": (
        [run(output(a=[{**CVE, "severity": "LOW"}], b=[]), "failure")],
        [ignored(date(2025, 12, 1))],
        Answer.FAIL,
        "trivy is failure",
    ),
    "accepted until yesterday, and again until tomorrow": (
        [run(output(a=[CVE], b=[]), "failure")],
        [ignored(date(2025, 11, 19)), ignored(date(2025, 11, 21))],
        Answer.PASS,
        "accepted for now: CVE-2025-1",
    ),
    "five findings are all named": ([run(output(a=many(5), b=[]))], [], Answer.FAIL, "CVE-3, CVE-4); ai-core"),
    "of six, five are named": ([run(output(a=many(6), b=[]))], [], Answer.FAIL, "CVE-4 and 1 more); ai-core"),
    "five severities of another scanner": (
        [run(output(a=many(5, "Important"), b=[]))],
        [],
        Answer.CANNOT_TELL,
        "CVE-4 is 'Important'; a severity",
    ),
    "six severities of another scanner": (
        [run(output(a=many(6, "Important"), b=[]))],
        [],
        Answer.CANNOT_TELL,
        "CVE-4 is 'Important' and 1 more; a severity",
    ),
    "it was cancelled": (
        [run(output(a=[CVE], b=[]), "cancelled")],
        [ignored(date(2025, 12, 1))],
        Answer.FAIL,
        "trivy is cancelled",
    ),
    "it has not run": ([], [], Answer.FAIL, "trivy has not run on this commit"),
    "another check": ([run(output(a=[], b=[]), name="trivyfake")], [], Answer.FAIL, "trivy has not run"),
    "it still runs": ([run(conclusion="pending")], [], Answer.FAIL, "has not finished"),
    "it failed without a finding": ([run(output(a=[], b=[]), "failure")], [], Answer.FAIL, "trivy is failure"),
    "it says nothing": ([run("")], [], Answer.CANNOT_TELL, "left no result for the images of backend, ai-core"),
    "it says nonsense": ([run("```json\n{{{\n```")], [], Answer.CANNOT_TELL, "left no result"),
    "it was skipped": ([run(conclusion="skipped")], [], Answer.CANNOT_TELL, "trivy (skipped) left no result"),
    "of another image": ([run(output(a=[], c=[]))], [], Answer.CANNOT_TELL, "the images of ai-core"),
    "no object": ([run("[]")], [], Answer.CANNOT_TELL, "left no result"),
    "deeply nested": ([run("[" * 100_000)], [], Answer.CANNOT_TELL, "left no result"),
}


@pytest.mark.parametrize(("checks", "accepted", "answer", "says"), CASES.values(), ids=CASES)
def test_only_a_clean_result_of_these_very_images_passes(
    checks: list[Check], accepted: list[Ignored], answer: Answer, says: str
) -> None:
    """Severities are shown, and what is accepted is accepted until a day."""
    found, fact, _ = scan_answer(checks, "trivy", {"backend": A, "ai-core": B}, ("HIGH", "CRITICAL"), accepted, NOW_S)
    assert (found, says in fact) == (answer, True), fact


def test_trivys_own_report_becomes_the_result_that_a_release_reads(tmp_path: Path) -> None:
    """`.github/trivy_result.py`, as CI runs it; a report that names no digest is refused."""
    report = {
        "ArtifactName": f"ghcr.io/geoaziz/ethixai-backend@{A}",
        "Results": [
            {
                "Target": "debian",
                "Vulnerabilities": [{"VulnerabilityID": "CVE-2025-1", "Severity": "HIGH", "PkgName": "x"}],
            },
            {"Target": "python", "Vulnerabilities": None},
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(report))
    (tmp_path / "b.json").write_text(
        json.dumps({"ArtifactName": "backend:latest", "Metadata": {"RepoDigests": [f"x@{B}"]}})
    )
    (tmp_path / "c.json").write_text(json.dumps({"ArtifactName": "backend:latest"}))

    def ran(*names: str) -> "subprocess.CompletedProcess[str]":
        script = Path(__file__).resolve().parents[3] / ".github" / "trivy_result.py"
        return subprocess.run(
            [sys.executable, str(script), "trivy", "abc123", *names],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    done = ran("a.json", "b.json")
    assert done.returncode == 0, done.stderr
    found, fact, _ = scan_answer(
        [run(json.loads(done.stdout)["output"]["text"])], "trivy", {"backend": A, "ai-core": B}, ("HIGH",), [], NOW_S
    )
    assert (found, "1 HIGH (CVE-2025-1)" in fact) == (Answer.FAIL, True)
    assert (ran("c.json").returncode, "was not scanned by its digest" in ran("c.json").stderr) == (1, True)
