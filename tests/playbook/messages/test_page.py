"""The parts of a release's page: phases, rows, a hold's question, a bake's line; and the page before the lease."""

import pytest
from prefect._internal.pydantic.v2_schema import create_v2_schema

from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Verdict, judge
from playbook.lease.lease import Decision, HotfixLease, Kind, ReleaseLease, ServiceRollout
from playbook.lease.record import Aside, Unreadable
from playbook.messages import opening, signals
from playbook.messages.hold import Question, question
from playbook.messages.opening import Opening
from playbook.messages.phases import Stage, phases
from playbook.messages.progress import bake_line, bake_text, done_percent
from playbook.messages.release_page import page
from playbook.messages.report import Note, Report
from playbook.messages.set_aside import set_aside
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.request import HotfixRequest
from playbook.release.traffic import TrafficSplit
from tasks.gate import decide_form

ROLLOUT = ServiceRollout(
    service="backend",
    from_revision="backend-1",
    found=TrafficSplit.all_to("backend-1"),
    to_revision="backend-2",
    image="r/backend@sha256:" + "a" * 64,
)
LEASE = ReleaseLease(
    release_id="v20251116-abc123-1f2e3d",
    version="v20251116-abc123",
    flow_run_id="1",
    epoch=1,
    rollouts=(ROLLOUT,),
    canary_percent=10,
    deadline_s=0,
    requested_by="Ada",
    bake_start_s=1.0,
    gate_deadline_s=1_763_301_600.0,
)
HOTFIX = HotfixLease(
    **{**LEASE.model_dump(exclude={"kind", "gate_deadline_s"}), "decision": Decision.PROMOTE},
    request=HotfixRequest(
        version="v20251116-hotfix1-abc123",
        reason="addresses leak",
        incident="CVE-2025-12345",
        approver="Grace",
        requested_by="Ada",
    ),
)
STAGES = {
    "starting": (Decision.DEPLOY, None, None, "✓✓▶○○○"),
    "moving users": (Decision.BAKE, None, None, "✓✓✓▶○○"),
    "baking": (Decision.BAKE, 1.0, None, "✓✓✓✓▶○"),
    "promoting": (Decision.PROMOTE, 1.0, None, "✓✓✓✓✓▶"),
    "promoted": (Decision.PROMOTE, 1.0, ReleaseOutcome.PROMOTED, "✓✓✓✓✓✓"),
}


@pytest.mark.parametrize(("decision", "start", "end", "signs"), STAGES.values(), ids=STAGES)
def test_the_strip_shows_how_far_a_release_has_come(
    decision: Decision, start: float | None, end: ReleaseOutcome | None, signs: str
) -> None:
    """checks, staging, deploy, canary, bake, promote: done, now, or still to come."""
    lease = LEASE.model_copy(update={"decision": decision, "bake_start_s": start})
    assert "".join(one.stage for one in phases(lease, end, has_staging=True, bake_s=900)) == signs


def test_the_strip_shows_where_a_release_failed_and_that_users_are_back() -> None:
    """The phase in which it was reverted stays marked, and the revert is a phase of its own."""
    lease = LEASE.model_copy(update={"decision": Decision.BAKE}).decided(Decision.REVERT, "bad")
    found = phases(lease, ReleaseOutcome.REVERTED, has_staging=True, bake_s=900)
    assert [(one.name, one.stage) for one in found][-3:] == [
        ("bake 15 minutes", Stage.FAILED),
        ("promote", Stage.NEXT),
        ("revert", Stage.DONE),
    ]


def judged(bake, tick, ticks: int, errors: int = 0, n: int = 20) -> Verdict:
    """A verdict after so many scrapes."""
    return judge(bake().folded([tick(n=n, x=errors, m=180) for _ in range(ticks)]), Policy())


def test_a_promoted_hotfix_is_not_called_undecided(bake, tick) -> None:
    """Too few requests in its first minutes: nothing spoke against it, and nobody is asked to decide."""
    verdict = judged(bake, tick, 1).model_copy(update={"action": Action.INCONCLUSIVE})
    outcome = FlowResult(end=ReleaseOutcome.PROMOTED, message="all users have it.")
    text = page(Report(environment="production", lease=HOTFIX, verdicts=(verdict,), outcome=outcome))
    assert "Promoted" in text.splitlines()[0]
    assert not [word for word in ("INCONCLUSIVE", "undecided", "a person's decision", "waiting") if word in text]
    assert "**Approved by** Grace" in text
    assert "CVE-2025-12345" in text


def test_a_release_that_a_person_promoted_says_who_and_why(bake, tick) -> None:
    """Its errors were never decided: without the person, *Promoted* would contradict them."""
    lease = LEASE.decided(Decision.PROMOTE, "Ada decided to promote: known and harmless")
    outcome = FlowResult(end=ReleaseOutcome.PROMOTED, message="all users have it.")
    text = page(Report(environment="production", lease=lease, verdicts=(judged(bake, tick, 3),), outcome=outcome))
    assert "**Decision:** Ada decided to promote: known and harmless" in text


def test_a_signal_that_is_compared_with_stable_shows_by_how_much(bake, tick) -> None:
    """Its factor stands beside its limit."""
    (row,) = [one for one in signals.table((judged(bake, tick, 3),)).splitlines() if "client errors" in one]
    assert "| 90 %, 2 × stable |" in row


def test_what_ended_waits_for_nothing(bake, tick) -> None:
    """A reverted release has rows that were never decided; none of them says what is still missing."""
    text = signals.table((judged(bake, tick, 3),), is_over=True)
    assert "waiting" not in text
    assert "more of requests" not in text


def test_while_it_bakes_each_row_says_what_is_missing(bake, tick) -> None:
    """Errors wait for requests; the row says how long that takes."""
    assert "… waiting" in signals.table((judged(bake, tick, 3),))


def test_the_question_of_a_hold_is_ten_lines(bake, tick) -> None:
    """What is asked, until when, value against limit, what each answer does, and where all numbers are."""
    verdict = judged(bake, tick, 3).model_copy(update={"action": Action.INCONCLUSIVE})
    report = Report(environment="production", lease=LEASE, verdicts=(verdict,), bake_s=900)
    lines = question(report, "https://ui/page").lines
    assert len(lines) <= 10
    assert "v20251116-abc123" in lines[0]
    assert "14:00 UTC" in lines[1]
    found = [line.partition(": ")[0] for line in lines]
    assert [word for word in found if word in ("promote", "revert", "extend", "raise")] == [
        "promote",
        "revert",
        "extend",
        "raise",
    ]


def test_above_the_form_of_a_hold_there_is_only_what_the_form_does_not_say() -> None:
    """Its required fields stand on the first screen of a small window: extend and raise are explained at their
    fields."""
    asked = Question(
        asked="<script>?",
        until="Answer until 14:00 UTC.",
        seen=("backend: revert: 5 % failed", "new errors: here"),
        users="10 % are on it.",
        promote="all *get* it.",
        revert="none.",
        at_fields=("extend: not here",),
        page_url="https://x",
    )
    shown = [
        "**&lt;script&gt;?** Answer until 14:00 UTC.  ",
        "**backend:** revert: 5 % failed  ",
        "new errors: here  ",
        "**Users:** 10 % are on it.  ",
        r"**promote:** all \*get\* it. **revert:** none.  ",
        "[All numbers](<https://x>) · *Fill in the first three fields: else it stays Paused.*",
    ]
    assert asked.form.splitlines() == shown
    again = asked.model_copy(update={"problem": "Your answer could not be carried out."})
    assert again.form.splitlines() == ["**Your answer could not be carried out.**  ", *shown]
    assert again.lines[:2] == ("Your answer could not be carried out.", "<script>?")
    assert asked.model_copy(update={"page_url": "javascript:x"}).form.count("All numbers") == 0


@pytest.mark.parametrize("share", [1, 10, 49, 50, 60])
def test_the_form_of_a_hold_refuses_what_cannot_be_carried_out(share: int) -> None:
    """Decision, name and reason are required and come first; a share must be larger than the canary's."""
    form = decide_form(share)
    schema = create_v2_schema(form.__name__, model_base=form)
    fields = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    assert fields[:3] == schema["required"] == ["choice", "approver", "reason"]
    assert all(schema["properties"][name]["else"] == {"const": "at least one word"} for name in ("approver", "reason"))
    assert ("raise" in schema["properties"]["choice"]["enum"]) is (share < 50)
    if share < 50:
        assert schema["properties"]["percent"]["minimum"] == share + 1
        assert share < schema["properties"]["percent"]["default"] <= 50


def test_a_bake_in_one_line_says_what_is_left_and_how_near_each_limit_is(bake, tick) -> None:
    """The text of the progress artifact."""
    line = bake_line((judged(bake, tick, 3),), now_s=100, ends_s=142)
    assert line.startswith("42 s left. ")
    assert "backend: errors 0 of 60 (0 %), limit 0.5 %." in line
    assert done_percent(50, 0, 200) == 25


def test_while_it_bakes_each_signal_says_how_much_of_its_limit_is_used(bake, tick) -> None:
    """A countdown, then a row for each service and signal, the nearest to its limit first."""
    verdict = judged(bake, tick, 3)
    text = bake_text((verdict,), now_s=100, ends_s=142)
    assert text.startswith("**42 s left.** ")
    assert "\n\n| service&emsp; | signal&emsp; |" in text
    rows = [line for line in text.splitlines() if line.startswith(f"| {verdict.service}&emsp;")]
    shares = [int(row.rpartition(" % |")[0].split()[-1]) for row in rows if row.endswith(" % |")]
    assert len(rows) > 3
    assert shares == sorted(shares, reverse=True)
    assert [
        row
        for row in rows
        if "| errors, whole bake&emsp; | 0 of 60 (0 %)&emsp; | 0.5 %&emsp; | ░░░░░░░░░░ 0 % |" in row
    ]
    assert bake_text((), now_s=0, ends_s=60) == "**60 s left.** Nothing is measured yet."


def test_a_timeline_names_no_reason_that_stands_above_it() -> None:
    """The first screen of a small window has room for eight steps; the whole timeline stands below."""
    notes = [Note(at_s=float(number), text=f"step {number}") for number in range(9)]
    notes.append(Note(at_s=9.0, text="backend: bad. Error rate 4.5 % is above 0.5 %."))
    outcome = FlowResult(end=ReleaseOutcome.REVERTED, message="backend: Error rate 4.5 % is above 0.5 %.")
    text = page(Report(environment="production", lease=LEASE, notes=tuple(notes), outcome=outcome))
    first = next(line for line in text.splitlines() if line.startswith("**Timeline:** … · **00:00:02** step 2 · "))
    assert first.endswith("**00:00:09** backend: bad")
    assert "### Timeline\n\n00:00:00 step 0  \n" in text


def test_a_refused_request_has_a_page_that_says_why_and_that_nothing_changed() -> None:
    """From the request on, under the key that the release's report would have."""
    begun = Opening(
        environment="production",
        release_id="v20251116-abc123-1f2e3d",
        kind=Kind.RELEASE,
        version="v20251116-abc123",
        canary_percent=10,
        requested_by="Ada",
        has_staging=True,
        bake_s=900,
    )
    refused = FlowResult(end=ReleaseOutcome.REFUSED, message="CI has not passed.")
    text = opening.page(begun.at("staging", 0, "checks passed").ended(refused, 1))
    assert begun.key == Report(environment="production", lease=LEASE).key
    assert text.splitlines()[0] == "## v20251116-abc123 to production: Refused"
    assert "✓ checks → **✗ staging**" in text
    assert "nothing changed for them in production.** CI has not passed." in text


@pytest.mark.parametrize(
    ("one", "summary", "next_step"),
    [
        (
            Unreadable(service="backend", problem="Cloud Run refused it", why=Aside.STUCK),
            "Production backend: no lease of its release was found, and its users could not be moved back: Cloud Run",
            "recovery tries again every 10 minutes",
        ),
        (
            Unreadable(service="backend", problem="an annotation is not as the engine writes it (int_parsing)"),
            "Production backend: its annotations playbook.ethixai.com/* cannot be used (an annotation is not as",
            "the engine neither recovers nor rolls back this service until its annotations are right",
        ),
    ],
    ids=["stuck", "unreadable"],
)
def test_the_page_about_a_service_set_aside_says_what_users_have_and_what_happens_now(
    one: Unreadable, summary: str, next_step: str
) -> None:
    """It wakes a person: where users are, whether the engine tries again, and the command to look with."""
    told = set_aside(one, "production", "--project=p --region=r", {"backend": "backend-2 10 %"})
    assert told.summary.startswith(summary)
    assert told.details["what happens now"] == next_step
    assert "backend-2 10 %" in told.details["what users have"]
    assert told.details["look"] == "gcloud run services describe backend --project=p --region=r"
