"""What an incident leaves in writing: signatures of errors, the room's message, the draft of the post-mortem."""

from pathlib import Path

import pytest

from playbook.incident.logs import LogLine
from playbook.incident.response import Call, Contact, assignee, called, new_signatures, signature
from playbook.lease.lease import Decision, ReleaseLease, ServiceRollout
from playbook.messages.chat import war_room
from playbook.messages.report import Note, Report
from playbook.messages.ticket import findings, log_commands, postmortem, rollback_ticket
from playbook.release.traffic import TrafficSplit

TEMPLATE = Path(__file__).resolve().parents[3] / "docs" / "playbooks" / "postmortem-template.md"
REPORT = Report(
    environment="production",
    lease=ReleaseLease(
        release_id="v20251116-abc123-1f2e3d",
        version="v20251116-abc123",
        flow_run_id="run-1",
        epoch=100,
        decision=Decision.REVERT,
        rollouts=(
            ServiceRollout(
                service="ethixai-backend",
                from_revision="ethixai-backend-00041-xyz",
                found=TrafficSplit.all_to("ethixai-backend-00041-xyz"),
                to_revision="ethixai-backend-abc123-1f2e3d",
                image="r/b@sha256:1",
            ),
        ),
        canary_percent=10,
        reason="ethixai-backend: 5 % failed",
        requested_by="ada",
        deadline_s=1.0,
    ),
    notes=(Note(at_s=1_763_647_200.0, text="claimed"), Note(at_s=1_763_647_290.0, text="Reverted")),
)

SAME = {
    "numbers": ("timeout after 3001 ms", "timeout after 12 ms"),
    "a UUID": (
        "report 123e4567-e89b-12d3-a456-426614174000 failed",
        "report 00000000-0000-0000-0000-00000000000a failed",
    ),
    "hex": ("at 0x7ffde4 in abc123def4", "at 0x1 in 99aa88bb77cc"),
    "an address": ("user ada@example.com unknown", "user bob.b@mail.example.org unknown"),
    "a time": ("2025-11-16T14:00:00.123Z refused", "2026-01-02 03:04:05+01:00 refused"),
    "an id": ("session s3ss10n-AbCdEfGh12345 gone", "session zz99-ZyXwVuTsRq98765 gone"),
    "its traceback": ("KeyError: 'x'\n  File a.py, line 3", "KeyError: 'x'\n  File b.py, line 9"),
    "its spaces": ("upstream   reset ", "upstream reset"),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_two_lines_of_one_error_have_one_signature(one: str, other: str) -> None:
    """What differs each time is taken out."""
    assert signature(one) == signature(other)


def test_two_errors_have_two_signatures() -> None:
    """Words are what tells them apart, also words that look like the beginning of an id."""
    assert signature("upstream connection reset") != signature("upstream connection refused")
    assert signature("decade of facade") == "decade of facade"


def lines(*texts: str) -> tuple[LogLine, ...]:
    return tuple(LogLine(at_s=n, severity="ERROR", text=text, insert_id=str(n)) for n, text in enumerate(texts))


def test_only_errors_that_stable_does_not_have_count_the_most_frequent_first() -> None:
    """What was there before the release did not come with it."""
    canary = lines("old error 1", "rare", "new after 5 ms", "new after 7 ms", "old error 2", "")
    found = new_signatures("backend", canary, lines("old error 999"))
    assert [str(one) for one in found] == ["2 × backend: new after <n> ms", "1 × backend: rare"]


def test_the_room_reads_what_happened_who_is_needed_and_where_to_look() -> None:
    """Roles to fill, contacts by role; a contact without a name is still reachable."""
    contacts = {
        "CTO": Contact(slack="@cto", escalation="Escalation for P0 incidents"),
        "Backend Lead": Contact(name="Ada", slack="@backend-lead"),
    }
    text = war_room(REPORT, contacts, "https://ui/runs/1").text
    for words in (
        "PRODUCTION INCIDENT: v20251116-abc123 was rolled back",
        "back on ethixai-backend-00041-xyz",
        "Incident Commander: ?, Comms Lead: ?, Engineering Lead: ?",
        "• CTO: @cto Escalation for P0 incidents",
        "• Backend Lead: @backend-lead (Ada)",
        "https://ui/runs/1",
    ):
        assert words in text


def test_the_draft_has_everything_that_is_known_in_its_place() -> None:
    """The template of the repository, its timeline filled in, and no placeholder left."""
    signatures = new_signatures("ethixai-backend", lines("boom 1", "boom 2"), ())
    draft = postmortem(TEMPLATE.read_text(), REPORT, signatures)
    assert "$" not in draft
    for words in (
        "# Post-mortem: Production: v20251116-abc123 was rolled back",
        "| Date | 2025-11-20 (UTC) |",
        "| 14:00:00 | claimed |\n| 14:01:30 | Reverted |",
        "2 × ethixai-backend: boom &lt;n&gt;",
        "automatic, in the canary phase",
    ):
        assert words in draft


def test_the_ticket_holds_evidence_new_errors_links_and_the_draft() -> None:
    """Title and severity as the playbook writes them; one key for each release, however often it is tried."""
    more = findings(REPORT, (), {"flow run": "https://ui/runs/1", **log_commands(REPORT)})
    ticket = rollback_ticket(REPORT, more, "the draft")
    assert (ticket.title, ticket.severity) == ("Production canary rollback triggered", "P2")
    assert ticket.key == "v20251116-abc123-1f2e3d/ticket"
    for words in ("Severity: P2 (high)", "Release engineer: ada", "https://ui/runs/1", "the draft", "gcloud logging"):
        assert words in ticket.body


def test_the_logs_are_read_in_the_releases_own_project() -> None:
    """A copied command would else read those of the project that gcloud has on that machine, and find nothing."""
    lease = REPORT.lease.model_copy(update={"place": "--project=ethixai-production --region=us-east1"})
    commands = log_commands(REPORT.model_copy(update={"lease": lease})).values()
    assert all(command.endswith(" --limit=100 --project=ethixai-production`") for command in commands)


PEOPLE = {
    "Primary on-call": Contact(name="Ada", slack="@ada", github="ada-l", called_for=(Call.P0, Call.P1)),
    "Security lead": Contact(slack="@sec", github="sec", escalation="After hours", called_for=(Call.SECURITY,)),
    "Product": Contact(name="Bo", slack="@bo"),
}


def test_who_is_called_stands_apart_from_the_other_contacts() -> None:
    """Where no one is called, or everyone, there is one list."""
    assert called(PEOPLE, Call.P1) == [
        "Called:",
        "• Primary on-call: @ada (Ada)",
        "Contacts:",
        "• Security lead: @sec After hours",
        "• Product: @bo (Bo)",
    ]
    assert called(PEOPLE, Call.P3)[0] == "Contacts:"
    assert called({"Product": PEOPLE["Product"]}) == ["Contacts:", "• Product: @bo (Bo)"]
    assert called({"Security lead": PEOPLE["Security lead"]}, Call.SECURITY)[0] == "Called:"
    assert len(called({"Security lead": PEOPLE["Security lead"]}, Call.SECURITY)) == 2


@pytest.mark.parametrize(
    ("requested_by", "login"),
    [
        pytest.param("octo (GitHub Actions)", "octo", id="a workflow: its actor"),
        pytest.param("  ADA ", "ada-l", id="a contact by name"),
        pytest.param("@sec", "sec", id="a contact by handle"),
        pytest.param("Bo", "ada-l", id="a contact without a login: the first who is called"),
        pytest.param("", "ada-l", id="no one"),
        pytest.param("a stranger", "ada-l", id="a person who is no contact"),
    ],
)
def test_a_ticket_is_assigned_to_who_asked_else_to_who_is_called(requested_by: str, login: str) -> None:
    """Empty where there is neither."""
    assert assignee(PEOPLE, requested_by, Call.P1) == login
    assert assignee({"Product": PEOPLE["Product"]}, "") == ""
