"""What people read of a hotfix, of what gave way to it, and of a rollback."""

import pytest

from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Verdict
from playbook.checklist.items import Answer, Item, Topic
from playbook.incident.decision_matrix import Reason, Severity, Symptom
from playbook.lease.lease import Decision, HotfixLease, ReleaseLease, RollbackLease, ServiceRollout
from playbook.messages.chat import alarm, given_way, mitigated, rolled_back
from playbook.messages.hotfix import before_the_fix, hotfix_debt, hotfix_deployed
from playbook.messages.page import alarm_page, alarm_rollback, rollback_page
from playbook.messages.report import Report
from playbook.messages.ticket import rollback_ticket
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.promotion import Promotion
from playbook.release.request import ExploitCheck, HotfixRequest, Measure, MitigateRequest, RollbackRequest
from playbook.release.traffic import TrafficSplit

VERSION = "v20251116-hotfix1-abc123"
PART = ServiceRollout(
    service="backend",
    from_revision="backend-old",
    found=TrafficSplit.all_to("backend-old"),
    to_revision="backend-new",
    image="r@sha256:1",
)
CLAIM = ReleaseLease(
    release_id=f"{VERSION}-1f2e3d",
    version=VERSION,
    flow_run_id="1",
    epoch=9,
    rollouts=(PART,),
    canary_percent=10,
    deadline_s=9e9,
)
HOTFIX = HotfixRequest(
    version=VERSION,
    reason="Critical security vulnerability",
    incident="CVE-2025-12345",
    approver="the security lead",
    exploit=(ExploitCheck(request="env:EXPLOIT_X"),),
)
CLEAN = Verdict(service="backend", action=Action.PROMOTE, reason=Reason.HEALTHY, explanation="0 of 1,000 failed")
BLIND = CLEAN.model_copy(update={"action": Action.INCONCLUSIVE, "explanation": "no evidence: nothing was seen"})


def hotfix(*verdicts: Verdict, request: HotfixRequest = HOTFIX, items: tuple[Item, ...] = ()) -> Report:
    fields = {"kind": "hotfix", "request": request, "requested_at_s": 1000.0, "bake_start_s": 1074.0}
    lease = HotfixLease.model_validate(CLAIM.model_dump() | fields)
    return Report(environment="production", lease=lease, verdicts=verdicts, checklist=items)


def test_a_hotfix_is_told_in_the_playbooks_words() -> None:
    """Playbook 6, step 6, and beside it who allowed it and how long it took against what is allowed."""
    assert hotfix_deployed(hotfix(CLEAN), Policy()).text.splitlines() == [
        "🚨 HOTFIX DEPLOYED",
        f"Version: {VERSION}",
        "Reason: Critical security vulnerability (CVE-2025-12345)",
        "Impact: All users (100% traffic immediately)",
        "Deployment Mode: Direct (canary skipped)",
        "Verified: Smoke tests passed, the exploit is refused, no elevated errors",
        "Approved by: the security lead",
        "Live: after 1.2 minutes (30 minutes allowed)",
    ]


def test_a_hotfix_that_took_too_long_is_marked() -> None:
    """Thirty minutes are allowed; the message that it is live says that it was late."""
    lease = hotfix(CLEAN).lease.model_copy(update={"bake_start_s": 1000.0 + 45 * 60})
    late = Report(environment="production", lease=lease, verdicts=(CLEAN,))
    assert hotfix_deployed(late, Policy()).text.endswith("Live: after 45 minutes (⚠️ LATE: 30 minutes allowed)")


def test_an_exploit_that_was_refused_before_the_fix_shows_nothing_of_it() -> None:
    """It may be the wrong request: the timeline says so."""
    check = ExploitCheck(request="env:EXPLOIT_X", service="backend")
    assert before_the_fix(check, 200) == "before the fix, EXPLOIT_X to backend answered 200"
    assert before_the_fix(check, 404).endswith(
        "answered 404, which counts as refused: it cannot show that the fix works"
    )


def test_a_hotfix_whose_errors_nobody_saw_does_not_claim_there_were_none() -> None:
    """No evidence is no health, also in a message."""
    text = hotfix_deployed(hotfix(BLIND), Policy()).text
    assert "no elevated errors" not in text
    assert "errors are not known (no evidence: nothing was seen)" in text


def test_what_a_hotfix_skipped_is_owed() -> None:
    """The canary, what the checklist had open, and the exploit check where none was given."""
    items = (
        Item(topic=Topic.CI, answer=Answer.FAIL, seen="trivy is missing"),
        Item(topic=Topic.SECRETS, answer=Answer.PASS, seen="all enabled"),
        Item(topic=Topic.ON_CALL, answer=Answer.CANNOT_TELL, seen="could not be asked"),
    )
    without = HOTFIX.model_copy(update={"exploit": ()})
    body = hotfix_debt(hotfix(CLEAN, request=without, items=items), Policy()).body
    for words in ("10 %, 15 minutes", "trivy is missing", "could not be asked", "No exploit check was given"):
        assert words in body
    assert "all enabled" not in body


def test_a_release_that_gave_way_says_to_what() -> None:
    """The person who waits for it reads that users are where they were, and what to do."""
    report = Report(environment="production", lease=CLAIM.giving_way("hotfix v1"))
    assert report.lease.decision is Decision.REVERT
    text = given_way(report).text
    for words in ("PRODUCTION RELEASE GAVE WAY", "hotfix v1 has priority", "back on backend-old"):
        assert words in text


def rollback(
    end: ReleaseOutcome = ReleaseOutcome.ROLLED_BACK, to: str = "", symptom: Symptom = Symptom.ERRORS_ABOVE_MAX
) -> Report:
    back = Promotion(release="v20251109-0000aa", revision="backend-old", digest="sha256:0", promoted_at_s=1.0)
    request = RollbackRequest(symptom=symptom, reason="reports are empty", to=to, requested_by="ada")
    rollout = PART.model_copy(update={"from_revision": "backend-new", "to_revision": "backend-old", "back_to": back})
    lease = RollbackLease.model_validate(
        CLAIM.model_dump(exclude={"kind", "request"})
        | {
            "rollouts": (rollout,),
            "request": request,
            "decision": Decision.REVERT,
            "reason": "Error rate > 0.5%: reports are empty",
            "requested_by": "ada",
        }
    )
    outcome = FlowResult(end=end, message="backend: GET /health/readiness answered 500.")
    return Report(environment="production", lease=lease, outcome=outcome)


def test_a_rollback_is_told_in_the_playbooks_words() -> None:
    """Playbook 4, scenario 2, step 4: the release that users are back on, not the revision's name."""
    assert rolled_back(rollback()).text.splitlines() == [
        "❌ PRODUCTION ROLLBACK EXECUTED",
        "Reason: Error rate > 0.5%: reports are empty",
        f"Action: Rolled back {VERSION} to v20251109-0000aa (previous stable)",
        f"Impact: all users had {VERSION} until it was rolled back",
        "Next Steps: see the incident ticket; fix, pass staging, release again",
    ]
    assert "(named stable)" in rolled_back(rollback(to="v20251109-0000aa")).text


def test_a_rollback_that_did_not_help_says_so_first() -> None:
    """Users are back, and it is not well there either: nobody may read past that."""
    assert "Next Steps: CHECK AT ONCE: backend: GET /health" in rolled_back(rollback(ReleaseOutcome.UNFIT)).text


@pytest.mark.parametrize(
    ("symptom", "severity"), [(Symptom.ERRORS_ABOVE_MAX, Severity.P1), (Symptom.ERRORS_IN_BAND, Severity.P2)]
)
def test_the_severity_of_a_rollback_is_the_matrixs(symptom: Symptom, severity: Severity) -> None:
    """Page and ticket have that of the symptom which was reported."""
    assert rollback_page(rollback(symptom=symptom)).severity is severity
    ticket = rollback_ticket(rollback(symptom=symptom))
    assert (ticket.severity, ticket.title) == (severity, f"Production rollback of {VERSION}")


def test_an_alarm_offers_the_filled_in_form() -> None:
    """The link and the command; the form's symptom is that of the verdict, and its reason fits the field."""
    bad = CLEAN.model_copy(update={"reason": Reason.OOM_KILLED, "explanation": "killed " * 200})
    page, message = (make(CLAIM, "production", bad, "https://ui/form") for make in (alarm_page, alarm))
    assert page.details["roll back"] == "https://ui/form"
    assert "Roll back: https://ui/form" in message.text
    filled = alarm_rollback(CLAIM, bad)
    assert (
        RollbackRequest(symptom=Symptom(filled["symptom"]), reason=filled["reason"], requested_by="x").problems() == []
    )
    assert filled["symptom"] == "Memory leak (OOM kills)"


def test_a_measure_says_how_it_is_ended() -> None:
    """Once it is restored there is nothing to end."""
    request = MitigateRequest(service="backend", measure=Measure.READ_ONLY, reason="a flood", requested_by="ada")
    assert (
        "To end it: start mitigate/production with restore backend"
        in mitigated(request, "production", "x", "1", "for an hour").text
    )
    ended = request.model_copy(update={"measure": Measure.RESTORE})
    assert "way back" not in mitigated(ended, "production", "x", "1", "for an hour").text
