"""The result of an image scan, as CI leaves it in the output of a check run, and what is wrong with it.

CI writes JSON into the check run's text, for each image that it scanned:
``{"scans": [{"digest": "sha256:…", "vulnerabilities": [{"id", "severity", "package"}]}]}``, alone or in a fenced
block. `.github/trivy_result.py` makes that from Trivy's own reports.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from playbook.base import Frozen
from playbook.checklist.checks import PASSED, Check
from playbook.checklist.gates import Ignored
from playbook.checklist.items import Answer, Seen
from playbook.text import Cleaned

FENCE = re.compile(r"```(?:json)?\s*\n(.*?)\n```", re.DOTALL)
Word = Annotated[Cleaned, StringConstraints(max_length=200)]
SHOWN_MAX = 5
ORDER = ("CRITICAL", "HIGH", "MEDIUM", "LOW", "UNKNOWN")
"""Trivy's severities. Another scanner's words (Important, 9.8) say nothing that could be compared with the policy."""


class Vulnerability(Frozen):
    """One finding."""

    id: Word
    severity: Word
    package: Word = ""

    @property
    def level(self) -> str:
        """The severity as Trivy writes it."""
        return self.severity.strip().upper()


class Scan(Frozen):
    """What was found in one image."""

    digest: Word
    vulnerabilities: tuple[Vulnerability, ...] = Field((), max_length=5000)


class _Output(Frozen):
    scans: tuple[Scan, ...] = Field(max_length=100)


def scans_of(checks: Sequence[Check], name: str) -> tuple[Scan, ...]:
    """Every result that the scan's check runs hold; a run that has not passed or failed holds none."""
    found: list[Scan] = []
    for check in checks:
        if check.name == name or check.name.startswith(f"{name} "):
            found += _read(check.output)
    return tuple(found)


def _read(output: str) -> tuple[Scan, ...]:
    fenced = FENCE.search(output)
    try:
        return _Output.model_validate(json.loads(fenced[1] if fenced else output)).scans
    except (ValueError, ValidationError, RecursionError):
        return ()


def scan_answer(
    checks: Sequence[Check],
    name: str,
    digests: Mapping[str, str],
    fails_on: Sequence[str],
    ignored: Sequence[Ignored],
    now_s: float,
) -> Seen:
    """Whether each image (service -> digest) was scanned without a finding that counts, and what was found.

    A scan that did not run is not a pass, nor is one of another image.
    """
    runs = [check for check in checks if check.name == name or check.name.startswith(f"{name} ")]
    if not runs:
        return Seen(Answer.FAIL, f"{name} has not run on this commit")
    if running := [check.name for check in runs if check.conclusion == "pending"]:
        return Seen(Answer.FAIL, f"{', '.join(running)} has not finished")
    scans: dict[str, dict[Vulnerability, None]] = {}
    for scan in scans_of(checks, name):  # a second result does not take back what the first one found
        scans.setdefault(scan.digest, {}).update(dict.fromkeys(scan.vulnerabilities))
    missing = [service for service, digest in digests.items() if digest not in scans]
    if missing:
        said = ", ".join(dict.fromkeys(check.conclusion for check in runs))
        return Seen(Answer.CANNOT_TELL, f"{name} ({said}) left no result for the images of {', '.join(missing)}")
    found_in = {service: list(scans[digest]) for service, digest in digests.items()}
    if unread := [one for found in found_in.values() for one in found if one.level not in ORDER]:
        return Seen(Answer.CANNOT_TELL, _unread(name, unread))
    today = datetime.fromtimestamp(now_s, UTC).date()
    accepted = {one.id for one in ignored if today <= one.until}
    expired = {one.id for one in ignored} - accepted
    lines, is_bad = [], False
    for service, found in found_in.items():
        counting = [one for one in found if one.level in fails_on and one.id not in accepted]
        is_bad = is_bad or bool(counting)
        lines.append(f"{service}: {_counted(found)}{_named(counting, expired)}{_accepted(found, accepted)}")
    explained = any(one.id in accepted and one.level in fails_on for found in found_in.values() for one in found)
    good = {*PASSED, "failure"} if explained else PASSED
    bad = [check for check in runs if check.conclusion not in good]
    if bad and not is_bad:
        return Seen(Answer.FAIL, "; ".join([*lines, f"{bad[0].name} is {bad[0].conclusion}"]))
    return Seen(Answer.FAIL if is_bad else Answer.PASS, "; ".join(lines))


def _unread(name: str, unread: Sequence[Vulnerability]) -> str:
    said = ", ".join(f"{one.id} is {one.severity[:40]!r}" for one in unread[:SHOWN_MAX])
    more = f" and {len(unread) - SHOWN_MAX} more" if len(unread) > SHOWN_MAX else ""
    return f"{name}: {said}{more}; a severity is one of {', '.join(ORDER)}. Correct what CI writes"


def _counted(found: Sequence[Vulnerability]) -> str:
    counts = Counter(one.level for one in found)
    known = [f"{counts[severity]} {severity}" for severity in ORDER if counts[severity]]
    return ", ".join(known) or "no vulnerabilities"


def _named(counting: Sequence[Vulnerability], expired: set[str]) -> str:
    names = [f"{one.id}{' (accepted until a day that is over)' if one.id in expired else ''}" for one in counting]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return f" ({', '.join(names[:SHOWN_MAX])}{more})"


def _accepted(found: Sequence[Vulnerability], accepted: set[str]) -> str:
    names = list(dict.fromkeys(one.id for one in found if one.id in accepted))
    return f"; accepted for now: {', '.join(names[:SHOWN_MAX])}" if names else ""
