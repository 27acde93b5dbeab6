"""Trivy's reports as a check run, whose output a release reads (docs/production.md). Standard library only.

    trivy image --format json --output backend.json ghcr.io/geoaziz/ethixai-backend@sha256:…
    python3 .github/trivy_result.py "trivy backend" COMMIT backend.json > check.json
    gh api --method POST repos/OWNER/NAME/check-runs --input check.json

Prints the body of the check run. Its text has each image by its digest with its vulnerabilities, the worst first, as
many as GitHub takes. It fails on HIGH and CRITICAL (playbook 3, step 1.3). Exit status 1: a report names no digest.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

TEXT_MAX = 65_535
"""Characters that GitHub takes as the text of a check run."""
SEVERITIES = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")
Json = dict[str, Any]


def digest_of(report: Json) -> str:
    """The digest that the image was scanned by. Raises ValueError."""
    names = [report.get("ArtifactName", ""), *report.get("Metadata", {}).get("RepoDigests", [])]
    for name in names:
        _, at, digest = str(name).partition("@")
        if at and digest.startswith("sha256:"):
            return digest
    raise ValueError(f"{names[0]!r} was not scanned by its digest; give trivy IMAGE@sha256:…")


def scan_of(report: Json) -> Json:
    """What was found in one image, the worst first; a vulnerability of several packages is listed for each."""
    found = [
        {"id": one["VulnerabilityID"], "severity": one.get("Severity", "UNKNOWN"), "package": one.get("PkgName", "")}
        for result in report.get("Results") or []
        for one in result.get("Vulnerabilities") or []
    ]
    found.sort(key=lambda one: SEVERITIES.index(one["severity"]) if one["severity"] in SEVERITIES else len(SEVERITIES))
    return {"digest": digest_of(report), "vulnerabilities": found}


def check_run(name: str, commit: str, reports: list[Json]) -> Json:
    """The body of the check run. Raises ValueError."""
    scans = [scan_of(report) for report in reports]
    counts = Counter(one["severity"] for scan in scans for one in scan["vulnerabilities"])
    said = ", ".join(f"{counts[one]} {one}" for one in SEVERITIES if counts[one]) or "no vulnerabilities"
    while len(text := f"```json\n{json.dumps({'scans': scans})}\n```") > TEXT_MAX:
        scans = [
            scan | {"vulnerabilities": scan["vulnerabilities"][: len(scan["vulnerabilities"]) // 2]} for scan in scans
        ]
    return {
        "name": name,
        "head_sha": commit,
        "status": "completed",
        "conclusion": "failure" if counts["CRITICAL"] + counts["HIGH"] else "success",
        "output": {"title": said, "summary": f"{', '.join(scan['digest'] for scan in scans)}: {said}", "text": text},
    }


if __name__ == "__main__":
    try:
        name, commit, *files = sys.argv[1:]
        found = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
        print(json.dumps(check_run(name, commit, found)))
    except (OSError, ValueError, KeyError) as wrong:
        print(f"::error::{wrong}", file=sys.stderr)
        sys.exit(1)
