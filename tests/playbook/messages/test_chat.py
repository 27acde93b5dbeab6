"""What people read at a release's start and end."""

import pytest

from playbook.analysis.verdict import Action, Verdict
from playbook.checklist.items import Answer, Item, Override, Topic
from playbook.incident.decision_matrix import Reason
from playbook.lease.lease import Decision, Lease, ReleaseLease, ServiceRollout
from playbook.messages.chat import (
    alarm,
    asking,
    complete,
    given_way,
    holding,
    interrupted,
    noticed,
    paused,
    resumed,
    rolled_back,
    scaled,
    starting,
    war_room,
)
from playbook.messages.hold import question
from playbook.messages.page import alarm_page, alarm_rollback, rollback_page
from playbook.messages.plan import rollback_plan
from playbook.messages.release_page import page
from playbook.messages.report import Report
from playbook.messages.set_aside import late_promotion, not_reverted
from playbook.messages.ticket import rollback_ticket
from playbook.messages.watch import watched
from playbook.messages.words import impact
from playbook.release.request import RollbackRequest
from playbook.release.traffic import TrafficSplit

CLAIM = ReleaseLease(
    release_id="v20251116-abc123-1f2e3d",
    version="v20251116-abc123",
    flow_run_id="1",
    epoch=1,
    rollouts=(
        ServiceRollout(
            service="backend",
            from_revision="old",
            found=TrafficSplit.all_to("old"),
            to_revision="new",
            image="i@sha256:1",
        ),
    ),
    canary_percent=10,
    requested_by="Ada",
    deadline_s=0,
)


def test_the_start_is_told_in_the_playbooks_words() -> None:
    """Playbook 2, line by line."""
    said = starting(CLAIM, "production", at_s=14 * 3600, bake_s=900, changes="Bug fixes")
    assert said.text.splitlines()[:4] == [
        "🚀 Production release starting at 14:00 UTC",
        "Version: v20251116-abc123",
        "Changes: Bug fixes",
        "ETA: 15 minutes (canary) → promote to 100%",
    ]
    assert said.text.endswith(f"To take it back while Prefect is down:\n```\n{rollback_plan(CLAIM)}\n```")


def test_an_open_checklist_is_told_with_who_and_why() -> None:
    """Each item that is not met has a line, with the person who goes on all the same."""
    override = Override(item=Topic.CI, by="Ada", reason="GitHub lost the checks")
    items = (
        Item(topic=Topic.CI, answer=Answer.CANNOT_TELL, seen="no answer (503)", override=override),
        Item(topic=Topic.ON_CALL, answer=Answer.PASS, seen="Bob"),
    )
    said = starting(CLAIM, "production", at_s=0, bake_s=900, changes="", items=items)
    assert said.text.splitlines()[4:6] == [
        "Checklist: 1 PASS, 1 CANNOT TELL",
        "• ❔ CANNOT TELL: All CI tests passing on main: no answer (503) (overridden by Ada: GitHub lost the checks)",
    ]


OVERRIDDEN = CLAIM.model_copy(update={"overrides": (Override(item=Topic.SCAN, by="Ada", reason="a false positive"),)})
SAID = "Images scanned for vulnerabilities: overridden by Ada: a false positive"


def test_an_override_is_told_wherever_the_release_is_mentioned() -> None:
    """The start after a crash, each message on the way, the end, the watch, the pages, the ticket and the release's own
    page."""
    worst = Verdict(
        service="backend", action=Action.INCONCLUSIVE, reason=Reason.TELEMETRY_MISSING, explanation="too few"
    )
    report = Report(environment="production", lease=OVERRIDDEN, verdicts=(worst,))
    given_way_report = report.model_copy(update={"lease": OVERRIDDEN.model_copy(update={"given_way_to": "a hotfix"})})
    texts = [
        starting(OVERRIDDEN, "production", at_s=0, bake_s=900, changes="").text,
        complete(report, 0).text,
        rolled_back(report).text,
        war_room(report, {}, "https://x").text,
        interrupted(report).text,
        given_way(given_way_report).text,
        paused(report, "https://x").text,
        resumed(report, "https://x").text,
        holding(report, ["backend"]).text,
        asking(report, question(report).lines, "https://x").text,
        noticed(OVERRIDDEN, "production", worst).text,
        scaled(report, 13).text,
        alarm(OVERRIDDEN, "production", worst, "https://x").text,
        watched(OVERRIDDEN, "production", "no alarm").text,
        str(alarm_page(OVERRIDDEN, "production", worst, "https://x").details),
        str(not_reverted(report, "permission denied", {"backend": "old"}).details),
        str(late_promotion(OVERRIDDEN, "production", "too late", {"backend": "old"}).details),
        str(rollback_page(report).details),
        rollback_ticket(report).body,
        page(report),
    ]
    assert [text for text in texts if SAID not in text] == []


def test_what_is_noticed_in_a_watch_speaks_of_no_bake() -> None:
    """The release is over: what was measured, after what, and that the watch goes on."""
    said = "P95 latency is above 2 s. A person decides when the bake ends. 53 s of the bake are left."
    slow = Verdict(service="backend", action=Action.CONTINUE, reason=Reason.LATENCY_2S, explanation=said)
    assert noticed(CLAIM.decided(Decision.REVERT), "production", slow, in_watch=True).text.splitlines() == [
        "👀 PRODUCTION WATCH: look at backend",
        f"After: {CLAIM.version} was taken back",
        "Measured: P95 latency is above 2 s.",
        "No alarm yet: the watch goes on",
    ]
    assert noticed(CLAIM, "production", slow).text.splitlines()[-2:] == [
        f"Measured: {said}",
        "No decision yet: the bake goes on",
    ]


@pytest.mark.parametrize(
    ("watch_s", "last"), [(3600, "Monitoring for 1 hour..."), (0, "Status: 100% traffic on new revision")]
)
def test_the_end_promises_a_watch_only_where_there_is_one(watch_s: float, last: str) -> None:
    """Staging is not watched afterwards, and nobody is told that it is."""
    report = Report(environment="production", lease=CLAIM)
    assert complete(report, watch_s).text.splitlines()[-1] == last


def test_the_end_says_on_what_evidence() -> None:
    """A person who reads only Slack sees what was measured of each service."""
    verdict = Verdict(service="backend", action=Action.PROMOTE, reason=Reason.HEALTHY, explanation="0 of 700 failed.")
    report = Report(environment="production", lease=CLAIM, verdicts=(verdict,))
    assert complete(report, 3600).text.endswith("Monitoring for 1 hour...\nbackend: 0 of 700 failed.")


def test_the_end_says_who_took_the_responsibility() -> None:
    """The person who promoted what the judge could not decide is named, with why, before the promise of a watch."""
    lease = CLAIM.model_copy(update={"gate_deadline_s": 1000.0, "reason": "Ada decided to promote: known"})
    report = Report(environment="production", lease=lease)
    assert complete(report, 3600).text.splitlines()[-2] == "Decided: Ada decided to promote: known"


def test_a_release_without_a_canary_promises_no_minutes() -> None:
    """ "0 seconds" would be an answer that nobody can use."""
    assert "seconds" not in starting(CLAIM, "staging", at_s=0, bake_s=0, changes="").text


@pytest.mark.parametrize("reason", list(Reason))
def test_the_form_that_an_alarm_fills_in_can_be_sent(reason: Reason) -> None:
    """Whatever turned bad: with a name under it, nothing is missing that the rollback asks for."""
    verdict = Verdict(service="backend", action=Action.ROLLBACK, reason=reason, explanation="5 % failed. " * 80)
    filled = RollbackRequest.model_validate({**alarm_rollback(CLAIM, verdict), "requested_by": "watch"})
    assert filled.problems() == []


@pytest.mark.parametrize(
    ("lease", "users"),
    [
        (CLAIM.decided(Decision.REVERT), "none: no user reached"),
        (CLAIM.decided(Decision.BAKE).decided(Decision.REVERT), "10 % of users on the new revisions; "),
        (CLAIM.decided(Decision.PROMOTE).decided(Decision.REVERT), "100 % of users on the new revisions; "),
        (
            CLAIM.model_copy(update={"decision": Decision.REVERT}),
            "share of users on the new revisions not known",
        ),
    ],
    ids=["nobody", "its share", "everybody", "a claim of the version before, which did not write it down"],
)
def test_the_impact_says_whom_a_release_had_reached(lease: Lease, users: str) -> None:
    """No share is made up where none is known."""
    assert impact(Report(environment="production", lease=lease)).startswith(users)
