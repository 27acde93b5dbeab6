"""One table says how severe something is, and one event has one severity wherever people read it."""

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from playbook.incident.decision_matrix import MATRIX, SEVERITY_OF, Event, Reason, Severity, Symptom, row_for
from playbook.lease.lease import Decision, Kind, Lease, Measured, ReleaseLease, RollbackLease, ServiceRollout
from playbook.messages.chat import war_room
from playbook.messages.not_started import asked_rollback
from playbook.messages.page import rollback_page
from playbook.messages.report import Report
from playbook.messages.ticket import postmortem, rollback_ticket
from playbook.release.request import RollbackRequest
from playbook.release.traffic import TrafficSplit

ROOT = Path(__file__).resolve().parents[3]
TABLE = ROOT / "playbook/incident/decision_matrix.py"
TRANSLATES = {
    ROOT / "blocks/pagerduty.py": "PagerDuty's words for ours",
    ROOT / "blocks/rules.py": "every environment has to call a person for P0 and for P1",
    ROOT / "playbook/incident/response.py": "what a person can be called for: a severity is one of them",
}
"""Files that name severities and say of no event how severe it is."""
LEVEL = re.compile(r"\bP[0-3]\b")
ROLLOUT = ServiceRollout(
    service="backend",
    from_revision="backend-old",
    found=TrafficSplit.all_to("backend-old"),
    to_revision="backend-new",
    image="r@sha256:1",
)
FIELDS = {
    "release_id": "v20251116-abc123-1f2e3d",
    "version": "v20251116-abc123",
    "flow_run_id": "1",
    "epoch": 9,
    "rollouts": (ROLLOUT,),
    "canary_percent": 10,
    "deadline_s": 9e9,
}


def literals(path: Path) -> Iterator[str]:
    """Every place that names a severity: ``Severity.P1``, ``Call.P1``, or a text with P1 in it. Docstrings may."""
    tree = ast.parse(path.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_member = isinstance(node, ast.Attribute) and LEVEL.fullmatch(node.attr)
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
        if is_member or (is_text and LEVEL.search(node.value)):
            yield f"{path.relative_to(ROOT)}:{node.lineno}"


def test_no_severity_is_written_anywhere_but_in_the_table() -> None:
    """What people are told is looked up by what has happened."""
    files = [path for room in ("playbook", "blocks", "tasks", "flows") for path in (ROOT / room).rglob("*.py")]
    found = {path: list(literals(path)) for path in files}
    assert found.pop(TABLE)
    assert {path for path in TRANSLATES if found.pop(path)} == set(TRANSLATES), "one of them needs no exception"
    assert [place for places in found.values() for place in places] == []


def test_every_event_and_every_symptom_has_a_severity() -> None:
    """And every severity of the table is used."""
    assert set(SEVERITY_OF) == set(Event)
    assert set(MATRIX) == set(Symptom)
    assert {*SEVERITY_OF.values(), *(row.severity for row in MATRIX.values())} == set(Severity)


def taken_back() -> Iterator[tuple[str, Lease, Severity]]:
    """A release for each reason of the judge's at each stage, and a rollback for each symptom, with their severity."""
    for reason, came_to in product(Reason, (Decision.DEPLOY, Decision.BAKE, Decision.PROMOTE)):
        row = row_for(reason)
        measured = Measured(severity=row.severity if row else None, failed=3, requests=400)
        lease = ReleaseLease(**FIELDS, decision=came_to, measured=measured).decided(Decision.REVERT, "bad")
        yield f"{reason}, {came_to}", lease, row.severity if row else SEVERITY_OF[Event.NO_USER_REACHED]
    for symptom in Symptom:
        request = RollbackRequest(symptom=symptom, reason="bad", requested_by="Ada")
        yield symptom, RollbackLease(**FIELDS, request=request, reason="bad"), MATRIX[symptom].severity


@pytest.mark.parametrize(("lease", "severity"), [pytest.param(*rest, id=name) for name, *rest in taken_back()])
def test_one_event_has_one_severity_in_page_room_ticket_and_post_mortem(lease: Lease, severity: Severity) -> None:
    """Where the four differ, people act by the one that they read first."""
    report = Report(environment="production", lease=lease)
    page, ticket, room = rollback_page(report), rollback_ticket(report), war_room(report, {}, "https://run")
    assert (page.severity, ticket.severity) == (severity, severity)
    assert severity.value in {call.value for call in page.calls}
    assert severity.value in ticket.labels
    assert f"Severity: {severity}" in ticket.body
    assert LEVEL.findall(room.text.splitlines()[0]) == [severity.value]
    assert postmortem("$severity", report, ()) == severity.value
    if lease.kind is Kind.ROLLBACK and isinstance(lease, RollbackLease):
        assert asked_rollback(lease.request).severity is severity
