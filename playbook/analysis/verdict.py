"""Evidence and policy to a verdict. Total, explains itself, does nothing. What decides is in `rules`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Literal, Self

from playbook.analysis import explanation, outlook, signal_judge
from playbook.analysis.chart import Moment
from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import Policy
from playbook.analysis.readings import SignalReading, readings
from playbook.analysis.rules import SPEAKS_AGAINST, Action, Finding, find
from playbook.analysis.shared_cause import is_latency_shared, is_shared
from playbook.base import Frozen
from playbook.incident.decision_matrix import Reason, Severity, Trigger, row_for

__all__ = ["Action", "Reason", "Verdict", "against", "alarming", "judge", "severest_first"]


class Verdict(Frozen):
    """What the judge says of one service, with everything it rests on."""

    service: str
    action: Action
    reason: Reason
    explanation: str  # one sentence: the numbers, and what would change the decision
    signals: tuple[SignalReading, ...] = ()
    attribution: Literal["canary", "shared"] | None = None  # whose fault; shared: rolling back may not help
    severity: Severity | None = None
    trigger: Trigger | None = None
    alert: bool = False  # tell people now, although nothing is decided
    eta_s: float | None = None  # seconds until there are requests enough to promote; None: not at this error ratio
    ruled_out: float | None = None  # where only requests are lacking: the error ratio that is ruled out all the same
    missing: int | None = None  # requests that a further look would need beside those seen; None: no number would do
    signal: str = ""  # the row of [[signals]] that decided, if one did
    new_errors: tuple[str, ...] = ()  # error lines of the canary that stable does not have
    at_s: float = 0.0
    trace: tuple[Moment, ...] = ()  # the bake so far, for the picture; filled in where it is shown

    def with_queries(self, queries: Mapping[str, str]) -> Self:
        """The same verdict with the query that gave each signal, by the signal's slot."""
        signals = tuple(replace(signal, query=queries.get(signal.slot)) for signal in self.signals)
        return self.model_copy(update={"signals": signals})


def judge(evidence: Evidence, policy: Policy, *, services: int = 1, scaled: bool = False) -> Verdict:
    """Decide what the evidence so far allows.

    The first that holds: OOM kill; errors proven, measured, regressed or literally above 0.5 %; a signal of
    [[signals]] that rolls back; p95 above 5 s or another signal that scales (SCALE, or ROLLBACK once ``scaled``). Then,
    until the bake's end, CONTINUE. At the end: errors measured above 0.5 %; first requests that failed; telemetry
    missing, stale or partial; no traffic; a signal that was never seen; a hold (latency, CPU, memory, a signal); errors
    in the 0.1-0.5 % band; errors surely worse than stable's; too few requests; and only then PROMOTE.

    ``services``: of the release; the chance of a wrong ROLLBACK is split over them. ``scaled``: more instances were
    tried already; evidence that knows it need not be told.
    Raises: ValueError, when ``policy`` is not the one the evidence was folded with (a longer bake is fine).
    Source: playbook 3 and 8; docs/judge.md.
    """
    _check_same_rules(evidence, policy)
    scaled = scaled or evidence.scaled_at_s is not None
    ends_s = evidence.bake_start_s + policy.bake_s
    at_end = evidence.now_s >= ends_s
    evidence, found = find(evidence, policy, services, scaled, at_end)
    return _verdict(found, evidence, policy, services, max(0.0, ends_s - evidence.now_s))


def severest_first(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts in the written worst-of order: ROLLBACK, SCALE, INCONCLUSIVE, CONTINUE, PROMOTE.

    Within an action the graver severity comes first, then the order given.
    """
    actions = list(Action)
    return tuple(sorted(verdicts, key=lambda v: (actions.index(v.action), v.severity or "P9")))


def against(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first verdict that speaks against what all users have already; None where there is none.

    A p95 above 5 s does whenever it is found: after the end, where a canary would be a person's to decide, too.
    """
    found = (v for v in verdicts if v.action in SPEAKS_AGAINST or v.reason is Reason.LATENCY_5S)
    return next(found, None)


def alarming(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first verdict that pages in the hour after a promotion: what speaks against the release, or what
    the matrix leaves to a person."""
    verdicts = tuple(verdicts)
    return against(verdicts) or next((v for v in verdicts if v.action is Action.INCONCLUSIVE and v.severity), None)


_FREE = {"name", "bake_s", "extensions"}  # what a policy may differ in from the one the evidence was folded with


def _check_same_rules(evidence: Evidence, policy: Policy) -> None:
    if policy is evidence.policy:
        return
    mine = evidence.policy.__dict__
    other = [name for name, value in policy.__dict__.items() if name not in _FREE and value != mine[name]]
    if other:
        raise ValueError(f"{evidence.service}: the evidence was folded with another policy: {', '.join(other)} differ")


def _attribution(found: Finding, evidence: Evidence, policy: Policy) -> Literal["canary", "shared"] | None:
    """Whose fault it is, where something speaks against the canary."""
    if found.reason is Reason.SHARED_CAUSE:
        return "shared" if evidence.set_aside_s else None
    if found.action not in SPEAKS_AGAINST:
        return None
    if found.reason is Reason.OOM_KILLED or found.state is not None:
        return "canary"
    by_latency = found.reason is Reason.LATENCY_5S
    return "shared" if (is_latency_shared if by_latency else is_shared)(evidence, policy) else "canary"


def _alert(found: Finding, evidence: Evidence, policy: Policy) -> bool:
    """Whether people should know now: in the band and not by chance, or held while the bake goes on."""
    if found.action is not Action.CONTINUE or found.reason is Reason.COLLECTING:
        return False
    if found.reason is Reason.SHARED_CAUSE:
        return bool(evidence.set_aside_s)
    if found.reason is not Reason.ERRORS_IN_BAND:
        return True
    worse = evidence.relative.peak >= 1 / policy.alpha_relative
    return worse or evidence.healthy.peak >= 1 / policy.alpha_healthy


def _verdict(found: Finding, evidence: Evidence, policy: Policy, services: int, left_s: float) -> Verdict:
    """The finding with everything that people want to know about it."""
    row = row_for(found.reason)
    is_open = found.action is Action.INCONCLUSIVE
    eta_s = outlook.eta_s(evidence, policy, is_open=is_open)
    attribution = _attribution(found, evidence, policy)
    bound = outlook.bound(evidence, policy)
    return Verdict.model_construct(  # at every look, of values that are right already
        service=evidence.service,
        action=found.action,
        reason=found.reason,
        explanation=_sentence(found, evidence, policy, bound, eta_s, left_s)
        + (explanation.SHARED if attribution == "shared" and found.action in SPEAKS_AGAINST else ""),
        signals=(
            *readings(evidence, policy, services),
            *(signal_judge.reading(evidence.signals, state, services) for state in evidence.signals.states),
        ),
        attribution=attribution,
        severity=row.severity if row else None,
        trigger=row.trigger if row else None,
        alert=_alert(found, evidence, policy),
        eta_s=eta_s,
        ruled_out=outlook.ruled_out(evidence, policy) if found.reason is Reason.TOO_FEW_REQUESTS else None,
        missing=outlook.missing(evidence, policy) if is_open else None,
        signal=found.state.signal.name if found.state else "",
        new_errors=evidence.new_errors,
        at_s=evidence.now_s,
    )


def _sentence(
    found: Finding, evidence: Evidence, policy: Policy, bound: float, eta_s: float | None, left_s: float
) -> str:
    if found.state is None:
        return explanation.sentence(found.reason, evidence, policy, bound=bound, eta_s=eta_s, left_s=left_s)
    if found.reason is Reason.SIGNAL_UNKNOWN:
        return signal_judge.unknown(found.state)
    is_held = found.reason is Reason.SIGNAL_HELD
    text = signal_judge.sentence(evidence.signals, found.state, policy, is_held=is_held)
    return f"{text} {left_s:.0f} s of the bake are left." if found.action is Action.CONTINUE else text
