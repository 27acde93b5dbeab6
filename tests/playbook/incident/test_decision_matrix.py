"""The playbook's decision matrix (section 8): every row as written, every row reachable, every reason placed."""

import pytest

from playbook.analysis.verdict import Action, judge
from playbook.incident.decision_matrix import MATRIX, SYMPTOM_OF, Reason, Response, Severity, Symptom, Trigger, row_for

CLEAN = {"n": 100, "m": 900}
THREE_IN_A_THOUSAND = [{**CLEAN, "x": int(k % 10 in (2, 5, 8))} for k in range(180)]
MEASURED = {
    Symptom.ERRORS_ABOVE_MAX: ([{"n": 100, "x": 5, "m": 900}] * 10, Action.ROLLBACK),
    Symptom.ERRORS_IN_BAND: (
        [{"n": 100, "x": int(k % 10 in (2, 5, 8)), "m": 900} for k in range(180)],
        Action.INCONCLUSIVE,
    ),
    Symptom.LATENCY_ABOVE_5S: ([dict(CLEAN, very_slow=30)] * 30, Action.SCALE),
    Symptom.OUT_OF_MEMORY: ([dict(CLEAN, oom_kills=1)], Action.ROLLBACK),
}
REPORTED = {Symptom.VULNERABILITY, Symptom.UI_BUG, Symptom.SOMETHING_ELSE}
"""Rows that no metric can show: people report them. The playbook's two roll nothing back; the last, which is ours, is a
person's decision."""

AS_WRITTEN = [
    ("Error rate > 0.5%", "P1", "Immediate rollback", "Automatic (canary phase)"),
    ("Error rate 0.1-0.5%", "P2", "Investigate, consider rollback", "Manual decision (15m window)"),
    ("P95 latency > 5s", "P2", "Investigate, scale up replicas", "Rollback if scaling doesn't help"),
    ("Memory leak (OOM kills)", "P1", "Immediate rollback", "Automatic (liveness probe fails)"),
    ("Security vulnerability reported", "P0", "Hotfix + redeploy", "No rollback (fix forward)"),
    ("UI bug (no backend impact)", "P3", "Fix in next release", "No rollback"),
]


def test_the_rows_are_the_playbooks():
    """Symptom, severity, action and trigger, word for word; "Rollback immediately" is an immediate rollback. One row is
    ours: a person may see something else."""
    rows = [(r.symptom, r.severity, r.response, r.trigger) for r in MATRIX.values()]
    assert rows == [
        *AS_WRITTEN,
        ("Something else", "P2", "Investigate, consider rollback", "Manual decision (15m window)"),
    ]


@pytest.mark.parametrize("symptom", list(Symptom))
def test_every_row_is_reachable(bake, tick, symptom):
    """A measured symptom leads the judge to its row; the others are reported by people and roll nothing back by
    themselves."""
    row = MATRIX[symptom]
    if symptom in REPORTED:
        assert row.trigger in (Trigger.NEVER, Trigger.NEVER_FORWARD, Trigger.MANUAL)
        return
    ticks, action = MEASURED[symptom]
    one = bake()
    verdict = judge(one.folded([tick(**t) for t in ticks]), one.policy)
    assert verdict.action is action
    assert (verdict.severity, verdict.trigger) == (row.severity, row.trigger)
    assert row_for(verdict.reason) == row


def test_the_matrix_is_total():
    """Every symptom has one row, is measured or reported, and every reason has a place or says it has none."""
    assert set(MATRIX) == set(Symptom) == set(MEASURED) | REPORTED
    assert set(SYMPTOM_OF) == set(Reason)
    assert {s for s in SYMPTOM_OF.values() if s} == set(MEASURED)


@pytest.mark.parametrize("kind", [Severity, Response, Trigger])
def test_no_severity_response_or_trigger_is_unused(kind):
    """Each word of the matrix stands in a row."""
    used = {value for row in MATRIX.values() for value in (row.severity, row.response, row.trigger)}
    assert set(kind) <= used
