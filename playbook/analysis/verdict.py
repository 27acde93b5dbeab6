"""Evidence and policy to a verdict. Total, explains itself, does nothing.

Three layers, in this order: hard events (a kill for lack of memory), tests that may be looked at all the time
(`sequential`), and the playbook's literal numbers once there is enough to measure them on. Promotion only at
the bake's end and only on positive evidence. What is missing is a reason of its own: neither health nor guilt.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Literal, NamedTuple, Self

from playbook.analysis import explanation, outlook, signal_judge
from playbook.analysis.chart import Moment
from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import NewErrors, Policy, SharedCause
from playbook.analysis.readings import SignalReading, readings
from playbook.analysis.shared_cause import fails_now, is_latency_shared, is_shared, settled, without_shared
from playbook.analysis.signal_states import State
from playbook.analysis.signals import Absence, Breach, Ratio
from playbook.analysis.unfit import telemetry_fault
from playbook.base import Frozen
from playbook.incident.decision_matrix import Reason, Severity, Trigger, row_for

__all__ = [
    "Action",
    "Reason",
    "Severity",
    "SignalReading",
    "Trigger",
    "Verdict",
    "against",
    "judge",
    "severest_first",
    "worst",
]


class Action(StrEnum):
    """What to do now, the worst first: of several services the worst speaks for the release."""

    ROLLBACK = "ROLLBACK"
    SCALE = "SCALE"
    INCONCLUSIVE = "INCONCLUSIVE"  # a person decides
    CONTINUE = "CONTINUE"  # look again
    PROMOTE = "PROMOTE"


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


class _Finding(NamedTuple):
    action: Action
    reason: Reason
    state: State | None = None  # of the signal that decided


def judge(evidence: Evidence, policy: Policy, *, services: int = 1, scaled: bool = False) -> Verdict:
    """Decide what the evidence so far allows.

    The first that holds: OOM kill; errors proven, measured, regressed or literally above 0.5 %; a signal of
    [[signals]] that rolls back; p95 above 5 s or another signal that scales (SCALE, or ROLLBACK once ``scaled``). Then,
    until the bake's end, CONTINUE. At the end: errors measured above 0.5 %; first requests that failed; telemetry
    missing, stale or partial; no traffic; a signal that was never seen; a hold (latency, CPU, memory, a signal); errors
    in the 0.1-0.5 % band; errors surely worse than stable's; too few requests; and only then PROMOTE. No data never
    promotes.

    ``services``: of the release; the chance of a wrong ROLLBACK is split over them. ``scaled``: more instances were
    tried already; evidence that knows it (`Evidence.after_scaling`) need not be told.
    Raises: ValueError, when ``policy`` is not the one the evidence was folded with (a longer bake is fine).
    Source: playbook 3 and 8; docs/judge.md.
    """
    _check_same_rules(evidence, policy)
    scaled = scaled or evidence.scaled_at_s is not None
    ends_s = evidence.bake_start_s + policy.bake_s
    at_end = evidence.now_s >= ends_s
    if policy.shared_cause is SharedCause.HOLD:
        evidence, found = _unless_shared(evidence, policy, services, scaled, at_end)
    else:
        found = _found(evidence, policy, services, scaled, at_end)
    return _verdict(found, evidence, policy, services, max(0.0, ends_s - evidence.now_s))


def _found(evidence: Evidence, policy: Policy, services: int, scaled: bool, at_end: bool) -> _Finding:
    """What holds first, in the order that `judge` gives."""
    if found := _against(evidence, policy, services) or _breached(evidence, Breach.ROLLBACK, services, at_end):
        return found
    if scaled or not at_end:
        slow = Reason.LATENCY_5S if _too_slow(evidence, policy, services) else None
        found = _Finding(Action.SCALE, slow) if slow else _breached(evidence, Breach.SCALE, services, at_end)
        if found:
            return found._replace(action=Action.ROLLBACK) if scaled else found
    return _at_end(evidence, policy, services) if at_end else _meanwhile(evidence, policy, services)


def _unless_shared(
    evidence: Evidence, policy: Policy, services: int, scaled: bool, at_end: bool
) -> tuple[Evidence, _Finding]:
    """What is found where the policy holds for a shared cause, and the evidence that it rests on.

    A canary that is surely worse than stable, or was killed for memory, is judged as always.
    """
    if evidence.relative.peak >= services / policy.alpha_relative:
        return evidence, _found(evidence, policy, services, scaled, at_end)
    left = without_shared(evidence, policy)
    found = _found(left, policy, services, scaled, at_end)
    waits = found._replace(
        action=Action.INCONCLUSIVE if at_end else Action.CONTINUE, reason=Reason.SHARED_CAUSE, state=None
    )
    if found.reason is Reason.OOM_KILLED:
        return left, found
    state = found.state if found.action in _SPEAKS_AGAINST else None
    if state and not isinstance(state.signal, Ratio):  # it is not known when it was beyond its limit
        return left, waits._replace(reason=Reason.SIGNAL_HELD, state=state) if left.set_aside_s else found
    if found.action in _SPEAKS_AGAINST:
        known = evidence.age_s > policy.freshness_s or _against_settled(left, policy, services, scaled, at_end)
        return left, found if known else waits
    needed_s = policy.coverage_min * min(policy.bake_s, policy.horizon_s)
    too_little = at_end and bool(left.set_aside_s) and left.covered_s < needed_s
    return left, waits if too_little or fails_now(evidence, policy) else found


def _against_settled(evidence: Evidence, policy: Policy, services: int, scaled: bool, at_end: bool) -> bool:
    return _found(settled(evidence), policy, services, scaled, at_end).action in _SPEAKS_AGAINST


def severest_first(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """The verdicts in the written worst-of order: ROLLBACK, SCALE, INCONCLUSIVE, CONTINUE, PROMOTE.

    Within an action the graver severity comes first, then the order given.
    """
    actions = list(Action)
    return tuple(sorted(verdicts, key=lambda v: (actions.index(v.action), v.severity or "P9")))


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict that speaks for a release of several services. Raises: ValueError when there is none."""
    ordered = severest_first(verdicts)
    if not ordered:
        raise ValueError("a release has at least one service, so at least one verdict")
    return ordered[0]


def against(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first verdict that speaks against what all users have already; None where there is none.

    A p95 above 5 s does whenever it is found: after the end, where a canary would be a person's to decide, too.
    """
    found = (v for v in verdicts if v.action in _SPEAKS_AGAINST or v.reason is Reason.LATENCY_5S)
    return next(found, None)


def alarming(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first verdict that pages in the hour after a promotion: what speaks against the release, or what
    the matrix leaves to a person."""
    verdicts = tuple(verdicts)
    return against(verdicts) or next((v for v in verdicts if v.action is Action.INCONCLUSIVE and v.severity), None)


_SPEAKS_AGAINST = (Action.ROLLBACK, Action.SCALE)
_FREE = {"name", "bake_s", "extensions"}
"""What a policy may differ in from the one the evidence was folded with."""


def _check_same_rules(evidence: Evidence, policy: Policy) -> None:
    if policy is evidence.policy:
        return
    mine = evidence.policy.__dict__
    other = [name for name, value in policy.__dict__.items() if name not in _FREE and value != mine[name]]
    if other:
        raise ValueError(f"{evidence.service}: the evidence was folded with another policy: {', '.join(other)} differ")


def _against(evidence: Evidence, policy: Policy, services: int) -> _Finding | None:
    """What rolls back at any time, whatever else is known."""
    if evidence.oom_kills:
        return _Finding(Action.ROLLBACK, Reason.OOM_KILLED)
    if evidence.ceiling.peak >= services / policy.alpha_ceiling:
        return _Finding(Action.ROLLBACK, Reason.ERRORS_PROVEN)
    if evidence.healthy_confirmed >= services / policy.alpha_healthy:
        return _Finding(Action.ROLLBACK, Reason.ERRORS_MEASURED)
    if evidence.relative_confirmed >= services / policy.alpha_relative:
        return _Finding(Action.ROLLBACK, Reason.ERRORS_REGRESSED)
    if evidence.literal:
        return _Finding(Action.ROLLBACK, Reason.ERRORS_LITERAL)
    return None


def _breached(evidence: Evidence, breach: Breach, services: int, at_end: bool) -> _Finding | None:
    """The first signal of [[signals]] with this consequence that is beyond its limit."""
    action = {Breach.ROLLBACK: Action.ROLLBACK, Breach.SCALE: Action.SCALE, Breach.HOLD: Action.INCONCLUSIVE}[breach]
    reason = Reason.SIGNAL_HELD if breach is Breach.HOLD else Reason.SIGNAL_BREACHED
    signals, least = evidence.signals, evidence.least
    for state in signals.states:
        if state.signal.breach is breach and signal_judge.is_breached(
            signals, state, least=least, services=services, at_end=at_end
        ):
            return _Finding(action, reason, state)
    return None


def _too_slow(evidence: Evidence, policy: Policy, services: int = 1) -> bool:
    """Whether the p95 is above 5 s, by evidence or by measure."""
    return evidence.latency.measured or evidence.latency.very_slow_confirmed >= services / policy.alpha_latency


def _unseen(evidence: Evidence, policy: Policy) -> Reason | None:
    """What is missing from the telemetry, if anything is."""
    if not evidence.rounds and evidence.age_s > policy.freshness_s:
        return Reason.TELEMETRY_MISSING
    if evidence.age_s > policy.freshness_s:
        return Reason.TELEMETRY_STALE
    return None


def _meanwhile(evidence: Evidence, policy: Policy, services: int) -> _Finding:
    """What to say while the bake goes on: what would stand in the way of promotion if it ended now."""
    no_traffic = not evidence.bake.n and evidence.now_s - evidence.bake_start_s > policy.freshness_s
    doubt = Reason.FIRST_REQUESTS_FAILED if _first_failed(evidence, policy) else None
    faulty = Reason.TELEMETRY_FAULTY if telemetry_fault(evidence, policy) else None
    if held := doubt or _unseen(evidence, policy) or faulty or _held(evidence, policy):
        return _Finding(Action.CONTINUE, held)
    if no_traffic:
        return _Finding(Action.CONTINUE, Reason.NO_TRAFFIC)
    if found := _breached(evidence, Breach.HOLD, services, False):
        return found._replace(action=Action.CONTINUE)
    if _in_band(evidence, policy):
        return _Finding(Action.CONTINUE, Reason.ERRORS_IN_BAND)
    worse = _is_worse(evidence, policy, services)
    return _Finding(Action.CONTINUE, Reason.ERRORS_WORSE if worse else Reason.COLLECTING)


def _first_failed(evidence: Evidence, policy: Policy) -> bool:
    """Whether too many of the requests failed that came before the first scrape. Some of them may be ours."""
    first = evidence.doubtful
    return first.x >= policy.errors_min and first.x > policy.error_ratio_max * (first.n + evidence.bake.n)


def _is_worse(evidence: Evidence, policy: Policy, services: int) -> bool:
    """Whether the canary surely fails more often than stable, however rarely."""
    is_proven = evidence.relative.peak >= services / policy.alpha_relative
    return is_proven and evidence.bake.x >= policy.errors_min and evidence.bake.ratio > evidence.stable_bake.ratio


def _held(evidence: Evidence, policy: Policy) -> Reason | None:
    """What forbids promotion although it is no reason to roll back."""
    if _too_slow(evidence, policy):
        return Reason.LATENCY_5S
    # Unlike the line at 5 s this one forbids only as long as it is true: a cold start is not held against a canary.
    line, least, latency = policy.slow_ratio_max, evidence.least, evidence.latency
    proven = latency.slow.value >= 1 / policy.alpha_latency and evidence.recent.of("timed", "slow").ratio > line
    slow = proven or latency.bake.above(line, least)
    if slow or (latency.bake.x >= least and evidence.recent.of("timed", "maybe_slow", line).above(line, least)):
        return Reason.LATENCY_2S
    if evidence.cpu.held:
        return Reason.CPU
    return Reason.MEMORY if evidence.memory.held else None


def _in_band(evidence: Evidence, policy: Policy) -> bool:
    """Whether errors are measured above 0.1 %, over the bake or over the last five minutes."""
    line, least = policy.error_ratio_investigate, evidence.least
    return evidence.bake.above(line, least) or evidence.window.above(line, least)


def _at_end(evidence: Evidence, policy: Policy, services: int) -> _Finding:
    """The verdict when the bake is over and nothing spoke against the canary before. Never CONTINUE."""
    line, least, bake = policy.error_ratio_max, evidence.least, evidence.bake
    if bake.above(line, least) or evidence.window.above(line, least):
        return _Finding(Action.ROLLBACK, Reason.ERRORS_AT_DEADLINE)
    if _first_failed(evidence, policy):
        return _Finding(Action.INCONCLUSIVE, Reason.FIRST_REQUESTS_FAILED)
    missing = _unseen(evidence, policy)
    if telemetry_fault(evidence, policy):
        missing = Reason.TELEMETRY_FAULTY
    elif not evidence.rounds:
        missing = Reason.TELEMETRY_MISSING
    elif missing is None and evidence.covered_s < policy.coverage_min * _watched_s(evidence):
        missing = Reason.TELEMETRY_PARTIAL
    elif missing is None and not bake.n:
        missing = Reason.NO_TRAFFIC
    elif missing is None:
        missing = _unknown(evidence, policy)
    if held := missing or _held(evidence, policy):
        return _Finding(Action.INCONCLUSIVE, held)
    if found := _breached(evidence, Breach.HOLD, services, True) or _breached(evidence, Breach.SCALE, services, True):
        return found._replace(action=Action.INCONCLUSIVE, reason=Reason.SIGNAL_HELD)
    if absent := _absent(evidence):
        return _Finding(Action.INCONCLUSIVE, Reason.SIGNAL_UNKNOWN, absent)
    if _in_band(evidence, policy):
        return _Finding(Action.INCONCLUSIVE, Reason.ERRORS_IN_BAND)
    if _is_worse(evidence, policy, services):
        return _Finding(Action.INCONCLUSIVE, Reason.ERRORS_WORSE)
    if policy.new_errors is NewErrors.HOLD and evidence.new_errors:
        return _Finding(Action.INCONCLUSIVE, Reason.NEW_ERRORS)
    if outlook.bound(evidence, policy) >= line:
        return _Finding(Action.INCONCLUSIVE, Reason.TOO_FEW_REQUESTS)
    return _Finding(Action.PROMOTE, Reason.HEALTHY)


def _watched_s(evidence: Evidence) -> float:
    """Seconds of the bake that samples should cover."""
    return evidence.now_s - evidence.bake_start_s - evidence.set_aside_s


def _absent(evidence: Evidence) -> State | None:
    """The first signal that was never seen, and whose absence holds."""
    for state in evidence.signals.states:
        if state.signal.absence is Absence.HOLD and not state.is_seen:
            return state
    return None


def _unknown(evidence: Evidence, policy: Policy) -> Reason | None:
    """What was never seen although there were requests: a signal that is missing is not a healthy one."""
    is_scaled, allowed = evidence.scaled_at_s is not None, policy.allow_unseen
    if not evidence.latency.bake.n and (is_scaled or "latency" not in allowed):
        return Reason.LATENCY_5S if is_scaled else Reason.LATENCY_UNKNOWN
    if evidence.oom_kills is None and "oom_kills" not in allowed:
        return Reason.OOM_UNKNOWN
    if math.isnan(evidence.cpu.level) and not is_scaled and "cpu" not in allowed:
        return Reason.CPU_UNKNOWN
    if math.isnan(evidence.memory.level) and not is_scaled and "memory" not in allowed:
        return Reason.MEMORY_UNKNOWN
    return None


def _attribution(found: _Finding, evidence: Evidence, policy: Policy) -> Literal["canary", "shared"] | None:
    """Whose fault it is, where something speaks against the canary."""
    if found.reason is Reason.SHARED_CAUSE:
        return "shared" if evidence.set_aside_s else None
    if found.action not in _SPEAKS_AGAINST:
        return None
    if found.reason is Reason.OOM_KILLED or found.state is not None:
        return "canary"
    by_latency = found.reason is Reason.LATENCY_5S
    return "shared" if (is_latency_shared if by_latency else is_shared)(evidence, policy) else "canary"


def _alert(found: _Finding, evidence: Evidence, policy: Policy) -> bool:
    """Whether people should know now: in the band and not by chance, or held while the bake goes on."""
    if found.action is not Action.CONTINUE or found.reason is Reason.COLLECTING:
        return False
    if found.reason is Reason.SHARED_CAUSE:
        return bool(evidence.set_aside_s)
    if found.reason is not Reason.ERRORS_IN_BAND:
        return True
    worse = evidence.relative.peak >= 1 / policy.alpha_relative
    return worse or evidence.healthy.peak >= 1 / policy.alpha_healthy


def _verdict(found: _Finding, evidence: Evidence, policy: Policy, services: int, left_s: float) -> Verdict:
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
        + (explanation.SHARED if attribution == "shared" and found.action in _SPEAKS_AGAINST else ""),
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
    found: _Finding, evidence: Evidence, policy: Policy, bound: float, eta_s: float | None, left_s: float
) -> str:
    if found.state is None:
        return explanation.sentence(found.reason, evidence, policy, bound=bound, eta_s=eta_s, left_s=left_s)
    if found.reason is Reason.SIGNAL_UNKNOWN:
        return signal_judge.unknown(found.state)
    is_held = found.reason is Reason.SIGNAL_HELD
    text = signal_judge.sentence(evidence.signals, found.state, policy, is_held=is_held)
    return f"{text} {left_s:.0f} s of the bake are left." if found.action is Action.CONTINUE else text
