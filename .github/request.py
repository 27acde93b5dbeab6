"""The inputs of `deploy-production.yml` as the parameters of a Prefect run, in JSON on stdout. Standard library only.

    python3 .github/request.py release

Reads the inputs from environment variables. Exit status 1, with a sentence on stderr, where an input cannot be read.
"""

import json
import os
import sys
from typing import Any

REFERENCES = ("secret-manager:", "env:EXPLOIT_")
"""How the place of an exploit check begins."""
FIELDS = {
    "release": ("version", "changes", "plan_reviewed_by"),
    "hotfix": ("version", "reason", "incident", "approver"),
}


def overrides(text: str, by: str) -> list[dict[str, str]]:
    """``ci: scanned by hand; load_test: as last week`` as one override for each item, by the person who ran the
    workflow. Raises ValueError."""
    found = []
    for part in filter(None, (one.strip() for one in text.replace("\n", ";").split(";"))):
        item, colon, reason = (piece.strip() for piece in part.partition(":"))
        if not (item and colon and reason):
            raise ValueError(f"overrides: {part[:80]!r} is not ITEM: REASON. Separate several with a semicolon.")
        found.append({"item": item, "by": by, "reason": reason})
    return found


def exploits(text: str) -> list[dict[str, Any]]:
    """``env:EXPLOIT_USERS; env:EXPLOIT_LOGIN ethixai-backend`` as one exploit check for each: its place, its service.

    A JSON list is taken as it is: the form's fields. The request itself is never an input: everyone who sees the
    workflow can read those. Raises ValueError.
    """
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    found = []
    for part in filter(None, (one.strip() for one in text.replace("\n", ";").split(";"))):
        words = part.split()
        if len(words) not in (1, 2) or not words[0].startswith(REFERENCES):
            raise ValueError(
                "exploit: give where each check is kept, secret-manager:projects/P/secrets/exploit-… or env:EXPLOIT_…, "
                "and its service. Separate several with a semicolon."
            )
        found.append(dict(zip(("request", "service"), words, strict=False)))
    return found


def request(kind: str, inputs: dict[str, str]) -> dict[str, Any]:
    """The request of a release or a hotfix. What was left empty is left out. Raises ValueError."""
    actor = inputs.get("GITHUB_ACTOR", "")
    asked: dict[str, Any] = {name: inputs.get(name.upper(), "") for name in FIELDS[kind]}
    if not asked.get("plan_reviewed_by", "x"):
        del asked["plan_reviewed_by"]
    asked["requested_by"] = f"{actor} (GitHub Actions)"
    if given := overrides(inputs.get("OVERRIDES", ""), actor):
        asked["overrides"] = given
    if inputs.get("PLAN_ONLY") == "true":
        asked["plan_only"] = True
    if kind == "hotfix" and (checks := exploits(inputs.get("EXPLOIT", ""))):
        asked["exploit"] = checks
    if kind == "release" and (services := inputs.get("SERVICES", "").replace(",", " ").split()):
        asked["services"] = services
    if kind == "release" and (percent := inputs.get("CANARY_PERCENT", "").strip()):
        if not percent.isdecimal():
            raise ValueError(f"canary_percent: {percent[:20]!r} is no whole number.")
        asked["canary_percent"] = int(percent)
    return {"request": asked}


if __name__ == "__main__":
    try:
        print(json.dumps(request(sys.argv[1], dict(os.environ))))
    except ValueError as wrong:
        print(f"::error::{wrong} Nothing was started.", file=sys.stderr)
        sys.exit(1)
