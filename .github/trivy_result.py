"""Trivy's reports as the output of a check run, which a release reads (docs/production.md). Standard library only.

    trivy image --format json --output backend.json ghcr.io/geoaziz/ethixai-backend@sha256:…
    python3 .github/trivy_result.py backend.json ai-core.json > output.md

Prints the Markdown for the check run's ``output.text``: each image by its digest, with its vulnerabilities. Exit
status 1 where a report names no digest, or where the text would be longer than GitHub takes.
"""

import json
import sys
from pathlib import Path
from typing import Any

TEXT_MAX = 65_535
"""Characters that GitHub takes as the text of a check run."""


def digest_of(report: dict[str, Any]) -> str:
    """The digest that the image was scanned by. Raises ValueError."""
    names = [report.get("ArtifactName", ""), *report.get("Metadata", {}).get("RepoDigests", [])]
    for name in names:
        _, at, digest = str(name).partition("@")
        if at and digest.startswith("sha256:"):
            return digest
    raise ValueError(f"{names[0]!r} was not scanned by its digest; give trivy IMAGE@sha256:…")


def scan_of(report: dict[str, Any]) -> dict[str, Any]:
    """What was found in one image; a vulnerability of several packages is listed for each."""
    found = [
        {"id": one["VulnerabilityID"], "severity": one.get("Severity", "UNKNOWN"), "package": one.get("PkgName", "")}
        for result in report.get("Results") or []
        for one in result.get("Vulnerabilities") or []
    ]
    return {"digest": digest_of(report), "vulnerabilities": found}


def text_of(reports: list[dict[str, Any]]) -> str:
    """The text of the check run. Raises ValueError."""
    text = f"```json\n{json.dumps({'scans': [scan_of(report) for report in reports]})}\n```"
    if len(text) > TEXT_MAX:
        raise ValueError(f"the result has {len(text)} characters, GitHub takes {TEXT_MAX}; scan with --severity")
    return text


if __name__ == "__main__":
    try:
        print(text_of([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]))
    except (OSError, ValueError, KeyError) as wrong:
        print(f"::error::{wrong}", file=sys.stderr)
        sys.exit(1)
