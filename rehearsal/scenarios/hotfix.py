"""A hotfix closes a security hole: it goes to all users without a canary, and the exploit is refused afterwards."""

from rehearsal import checks
from rehearsal.scenario import Scenario, ScenarioResult, Start
from rehearsal.test_environment import TestEnvironment

EXPLOIT = {"request": "env:EXPLOIT_DEBUG_USERS", "service": "ethixai-backend"}


def starts(test_env: TestEnvironment, version: str) -> Start:
    """Start a hotfix with the version that CI has built."""
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
    """All users have the hotfix, no request failed, the exploit is now refused, and a follow-up ticket is open."""
    checks.hotfix_served(result)
    checks.no_failed_requests(result, least=1000)
    statuses = [
        line.rsplit(" ", 1)[-1]
        for line in result.logs
        if line.startswith("EXPLOIT_DEBUG_USERS to ethixai-backend answered")
    ]
    result.expect(
        statuses == ["200", "403", "403"],
        f"the exploit was answered {statuses} (before, at the tag URL, after), expected 200, 403, 403",
    )
    checks.sent_once(result, "slack", "🚨 HOTFIX DEPLOYED")
    checks.sent_once(result, "github", "Follow-up of hotfix")
    result.expect(not result.words("pagerduty"), "PagerDuty was called although nothing failed")


SCENARIO = Scenario(
    name="hotfix",
    description="A hotfix is released to all users without a canary, and the exploit is refused afterwards.",
    ends="Promoted",
    behaviours={"ethixai-backend": "patched"},
    starts=starts,
    then=then,
)
