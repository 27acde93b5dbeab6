"""A hole is found: the fix goes to everybody at once, and the exploit is refused afterwards."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment

EXPLOIT = {"method": "GET", "path": "/api/debug/users", "service": "ethixai-backend"}


def starts(test_env: TestEnvironment, version: str) -> Start:
    """A hotfix of the version that CI has built."""
    date, _, commit = version.partition("-")
    request = {
        "version": f"{date}-hotfix1-{commit}",
        "reason": "Critical security vulnerability",
        "incident": "CVE-2025-12345",
        "approver": "the security lead",
        "exploit": [EXPLOIT],
        "requested_by": "rehearsal",
    }
    return "hotfix/production", {"request": request}


def then(result: ScenarioResult) -> None:
    """Everybody has it, nobody noticed; the hole was open before and is closed now; the debt has a ticket."""
    checks.fixed(result)
    checks.untroubled(result, least=1000)
    statuses = [line.rsplit(" ", 1)[-1] for line in result.logs if "/api/debug/users answered" in line]
    result.expect(statuses == ["200", "403", "403"], f"the exploit was answered {statuses}: before, tag URL, after")
    checks.told_once(result, "slack", "🚨 HOTFIX DEPLOYED")
    checks.told_once(result, "github", "Follow-up of hotfix")
    result.expect(not result.words("pagerduty"), "somebody was paged for nothing")


STORY = Scenario(
    name="hotfix",
    told="a fix for everybody, canary skipped",
    ends="Promoted",
    behaviours={"ethixai-backend": "patched"},
    starts=starts,
    then=then,
)
