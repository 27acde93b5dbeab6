"""The playbook's rollback decision matrix (section 8), row by row, and which row each finding belongs to."""

from enum import StrEnum

from playbook.base import Frozen


class Symptom(StrEnum):
    """The first column. The first four are measured; the others are reported by people. The last is not the playbook's:
    what a person sees need not be in its table."""

    ERRORS_ABOVE_MAX = "Error rate > 0.5%"
    ERRORS_IN_BAND = "Error rate 0.1-0.5%"
    LATENCY_ABOVE_5S = "P95 latency > 5s"
    OUT_OF_MEMORY = "Memory leak (OOM kills)"
    VULNERABILITY = "Security vulnerability reported"
    UI_BUG = "UI bug (no backend impact)"
    SOMETHING_ELSE = "Something else"


class Severity(StrEnum):
    """P0 is the worst."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"

    @property
    def in_words(self) -> str:
        """As the playbook writes it in a ticket (4, scenario 1)."""
        return f"{self} (high)" if self is Severity.P2 else str(self)


class Response(StrEnum):
    """What the playbook has us do."""

    ROLL_BACK = "Immediate rollback"
    INVESTIGATE = "Investigate, consider rollback"
    SCALE_UP = "Investigate, scale up replicas"
    FIX_FORWARD = "Hotfix + redeploy"
    NEXT_RELEASE = "Fix in next release"


class Trigger(StrEnum):
    """What starts the rollback, if anything does."""

    AUTOMATIC = "Automatic (canary phase)"
    AUTOMATIC_OOM = "Automatic (liveness probe fails)"
    MANUAL = "Manual decision (15m window)"
    IF_SCALING_FAILS = "Rollback if scaling doesn't help"
    NEVER_FORWARD = "No rollback (fix forward)"
    NEVER = "No rollback"


class Row(Frozen):
    """One row of the matrix."""

    symptom: Symptom
    severity: Severity
    response: Response
    trigger: Trigger


class Reason(StrEnum):
    """Why a verdict is what it is. One reason, the first that holds in the order of `verdict.judge`."""

    # against the canary
    OOM_KILLED = "oom_killed"
    ERRORS_PROVEN = "errors_proven"  # evidence that the ratio is above 0.5 %
    ERRORS_MEASURED = "errors_measured"  # measured above 0.5 %, and evidence that it is not healthy
    ERRORS_REGRESSED = "errors_regressed"  # measured above 0.5 %, and evidence that it is worse than stable
    ERRORS_LITERAL = "errors_literal"  # the playbook's bare number, on enough requests
    ERRORS_AT_DEADLINE = "errors_at_deadline"  # measured above 0.5 % when the bake ends
    LATENCY_5S = "latency_5s"
    SIGNAL_BREACHED = "signal_breached"  # a signal of [[signals]] whose breach rolls back or scales
    # a person decides
    TELEMETRY_MISSING = "telemetry_missing"  # nothing was ever seen
    TELEMETRY_STALE = "telemetry_stale"  # the last sample is too old
    TELEMETRY_PARTIAL = "telemetry_partial"  # too little of the bake was seen: late, or gaps
    TELEMETRY_FAULTY = "telemetry_faulty"  # seen, and it makes no sense; the reason says what to correct
    NO_TRAFFIC = "no_traffic"  # seen, but no requests
    LATENCY_UNKNOWN = "latency_unknown"  # requests, and not one with a latency
    OOM_UNKNOWN = "oom_unknown"  # the logs could never be asked for kills
    CPU_UNKNOWN = "cpu_unknown"  # never seen
    MEMORY_UNKNOWN = "memory_unknown"
    SIGNAL_UNKNOWN = "signal_unknown"  # a signal of [[signals]] whose absence holds
    FIRST_REQUESTS_FAILED = "first_requests_failed"  # before the first scrape of the canary's first instances
    LATENCY_2S = "latency_2s"
    CPU = "cpu"
    MEMORY = "memory"
    SIGNAL_HELD = "signal_held"  # a signal of [[signals]] whose breach holds
    ERRORS_IN_BAND = "errors_in_band"
    NEW_ERRORS = "new_errors"  # error lines that stable does not have, where the policy holds for them
    ERRORS_WORSE = "errors_worse"  # below every fixed limit, and evidence that it is worse than stable
    SHARED_CAUSE = "shared_cause"  # stable fails too, where the policy waits until it is well
    TOO_FEW_REQUESTS = "too_few_requests"
    # for it
    COLLECTING = "collecting"
    HEALTHY = "healthy"
    SMALL_FAULT_RULED_OUT = "small_fault_ruled_out"  # too few requests for more; the policy promotes on that


MATRIX: dict[Symptom, Row] = {
    row.symptom: row
    for row in (
        Row(
            symptom=Symptom.ERRORS_ABOVE_MAX,
            severity=Severity.P1,
            response=Response.ROLL_BACK,
            trigger=Trigger.AUTOMATIC,
        ),
        Row(
            symptom=Symptom.ERRORS_IN_BAND,
            severity=Severity.P2,
            response=Response.INVESTIGATE,
            trigger=Trigger.MANUAL,
        ),
        Row(
            symptom=Symptom.LATENCY_ABOVE_5S,
            severity=Severity.P2,
            response=Response.SCALE_UP,
            trigger=Trigger.IF_SCALING_FAILS,
        ),
        Row(
            symptom=Symptom.OUT_OF_MEMORY,
            severity=Severity.P1,
            response=Response.ROLL_BACK,
            trigger=Trigger.AUTOMATIC_OOM,
        ),
        Row(
            symptom=Symptom.VULNERABILITY,
            severity=Severity.P0,
            response=Response.FIX_FORWARD,
            trigger=Trigger.NEVER_FORWARD,
        ),
        Row(
            symptom=Symptom.UI_BUG,
            severity=Severity.P3,
            response=Response.NEXT_RELEASE,
            trigger=Trigger.NEVER,
        ),
        Row(
            symptom=Symptom.SOMETHING_ELSE,
            severity=Severity.P2,
            response=Response.INVESTIGATE,
            trigger=Trigger.MANUAL,
        ),
    )
}

SYMPTOM_OF: dict[Reason, Symptom | None] = {
    Reason.OOM_KILLED: Symptom.OUT_OF_MEMORY,
    Reason.ERRORS_PROVEN: Symptom.ERRORS_ABOVE_MAX,
    Reason.ERRORS_MEASURED: Symptom.ERRORS_ABOVE_MAX,
    Reason.ERRORS_REGRESSED: Symptom.ERRORS_ABOVE_MAX,
    Reason.ERRORS_LITERAL: Symptom.ERRORS_ABOVE_MAX,
    Reason.ERRORS_AT_DEADLINE: Symptom.ERRORS_ABOVE_MAX,
    Reason.LATENCY_5S: Symptom.LATENCY_ABOVE_5S,
    Reason.SIGNAL_BREACHED: Symptom.ERRORS_ABOVE_MAX,
    Reason.ERRORS_IN_BAND: Symptom.ERRORS_IN_BAND,
    # The matrix has no row for these; section 3 says investigate or watch, so a person decides.
    Reason.TELEMETRY_MISSING: None,
    Reason.TELEMETRY_STALE: None,
    Reason.TELEMETRY_PARTIAL: None,
    Reason.TELEMETRY_FAULTY: None,
    Reason.NO_TRAFFIC: None,
    Reason.LATENCY_UNKNOWN: None,
    Reason.OOM_UNKNOWN: None,
    Reason.CPU_UNKNOWN: None,
    Reason.MEMORY_UNKNOWN: None,
    Reason.SIGNAL_UNKNOWN: None,
    Reason.SIGNAL_HELD: None,
    Reason.FIRST_REQUESTS_FAILED: None,
    Reason.NEW_ERRORS: None,
    Reason.ERRORS_WORSE: None,
    Reason.SHARED_CAUSE: None,
    Reason.LATENCY_2S: None,
    Reason.CPU: None,
    Reason.MEMORY: None,
    Reason.TOO_FEW_REQUESTS: None,
    Reason.COLLECTING: None,
    Reason.HEALTHY: None,
    Reason.SMALL_FAULT_RULED_OUT: None,
}


def row_for(reason: Reason) -> Row | None:
    """The matrix row of what the judge found; None where the matrix has none."""
    symptom = SYMPTOM_OF[reason]
    return None if symptom is None else MATRIX[symptom]


class Event(StrEnum):
    """What people are told with a severity although the matrix has no row for it."""

    NO_USER_REACHED = "a release was taken back for something that no row names"
    HALF_PROMOTED = "a step was refused while users were being promoted"
    TURNED_BAD = "what all users have turned bad, for something that no row names"
    NOT_REVERTED = "users could not be taken back everywhere"
    SET_ASIDE = "a service, or every service, that the engine does nothing with"
    LATE_PROMOTION = "a release that stands half promoted waits for a person"
    MIGRATION_ROLLBACK = "a migration is taken back, or that is refused or stopped: users cannot write"
    NOT_STARTED = "a run that users wait for does not start, or the worker that would start it is gone"
    NO_RECOVERY = "recovery fails or does not run"
    NOT_DELIVERED = "a message, page or ticket was not delivered"
    FOLLOW_UP = "what a hotfix skipped"
    ACTION_ITEM = "what a retrospective found"


SEVERITY_OF: dict[Event, Severity] = {
    Event.NO_USER_REACHED: Severity.P2,
    Event.HALF_PROMOTED: Severity.P1,
    Event.TURNED_BAD: Severity.P1,
    Event.NOT_REVERTED: Severity.P1,
    Event.SET_ASIDE: Severity.P1,
    Event.LATE_PROMOTION: Severity.P1,
    Event.MIGRATION_ROLLBACK: Severity.P1,
    Event.NOT_STARTED: Severity.P1,
    Event.NO_RECOVERY: Severity.P1,
    Event.NOT_DELIVERED: Severity.P2,
    Event.FOLLOW_UP: Severity.P2,
    Event.ACTION_ITEM: Severity.P3,
}
"""With `MATRIX` the one place that says how severe something is: page, room, ticket and post-mortem read it."""
