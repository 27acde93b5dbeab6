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

from playbook.analysis import explanation, signal_judge
from playbook.analysis.chart import Moment
from playbook.analysis.evidence import Evidence
from playbook.analysis.levels import BLOCK, Window
from playbook.analysis.policy import NewErrors, Policy
from playbook.analysis.readings import SignalReading, readings
from playbook.analysis.sequential import requests_needed, small_fault_bound, upper_bound
from playbook.analysis.signal_states import State
from playbook.analysis.signals import Absence, Breach
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
    trace: tuple[Moment, ...] = ()  # the bake so far, for the picture; filled in by whoever shows it

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
    found = _against(evidence, policy, services)
    found = found or _breached(evidence, Breach.ROLLBACK, services, at_end)
    if found is None and (scaled or not at_end):
        slow = Reason.LATENCY_5S if _too_slow(evidence, policy, services) else None
        found = _Finding(Action.SCALE, slow) if slow else _breached(evidence, Breach.SCALE, services, at_end)
        found = found._replace(action=Action.ROLLBACK) if found and scaled else found
    if found is None:
        found = _at_end(evidence, policy, services) if at_end else _meanwhile(evidence, policy, services)
    return _verdict(found, evidence, policy, services, max(0.0, ends_s - evidence.now_s))


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
    """The first verdict that speaks against what everybody has already; None where there is none.

    A p95 above 5 s does whenever it is found: after the end, where a canary would be a person's to decide, too.
    """
    found = (v for v in verdicts if v.action in (Action.ROLLBACK, Action.SCALE) or v.reason is Reason.LATENCY_5S)
    return next(found, None)


def alarming(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first verdict that wakes somebody in the hour after a promotion: what speaks against the release, or what
    the matrix leaves to a person."""
    verdicts = tuple(verdicts)
    return against(verdicts) or next((v for v in verdicts if v.action is Action.INCONCLUSIVE and v.severity), None)


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
    elif missing is None and evidence.covered_s < policy.coverage_min * (evidence.now_s - evidence.bake_start_s):
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
    if _bound(evidence, policy) >= line:
        return _Finding(Action.INCONCLUSIVE, Reason.TOO_FEW_REQUESTS)
    return _Finding(Action.PROMOTE, Reason.HEALTHY)


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


def _bound(evidence: Evidence, policy: Policy) -> float:
    """The error ratio that the bake rules out, at the certainty this look asks for. Failed requests whose time is in
    doubt count, good ones do not."""
    bake, more = evidence.bake, evidence.doubtful.x
    return upper_bound(bake.n + more, bake.x + more, evidence.dispersion.phi_hat, policy.alpha_promote_now)


def _attribution(found: _Finding, evidence: Evidence, policy: Policy) -> Literal["canary", "shared"] | None:
    """Whose fault it is. Shared: stable is above the line now, by the same rules, and the canary never worse."""
    if found.action not in (Action.ROLLBACK, Action.SCALE):
        return None
    if found.reason is Reason.OOM_KILLED or found.state is not None:
        return "canary"
    if found.reason is Reason.LATENCY_5S:
        line = policy.slow_ratio_max
        both = evidence.recent.of("stable_timed", "stable_very_slow", line).above(line, evidence.least)
        return "shared" if both else "canary"
    worse = evidence.relative.peak >= 1 / policy.alpha_relative
    if worse or not _stable_fails(evidence, policy):
        return "canary"
    proven = evidence.stable_peak(evidence.tests.ceiling) >= 1 / policy.alpha_ceiling
    enough = evidence.recent.of("m", "y").x + evidence.stable_since.x >= evidence.least
    measured = enough and evidence.stable_peak(evidence.tests.healthy) >= 1 / policy.alpha_healthy
    return "shared" if proven or measured else "canary"


def _stable_fails(evidence: Evidence, policy: Policy) -> bool:
    """Whether stable is above the line now: over five minutes, or over its newest scrapes, as an outage of seconds is
    still small beside five good minutes."""
    since, line = evidence.stable_since, policy.error_ratio_max
    counts = (recent.of("m", "y") for recent in (evidence.recent, evidence.recent.newest(BLOCK)))
    long, short = (Window(seen.n + since.n, seen.x + since.x) for seen in counts)
    return long.ratio > line or (short.ratio > line and short.x >= evidence.least)


def _alert(found: _Finding, evidence: Evidence, policy: Policy) -> bool:
    """Whether people should know now: in the band and not by chance, or held while the bake goes on."""
    if found.action is not Action.CONTINUE or found.reason is Reason.COLLECTING:
        return False
    if found.reason is not Reason.ERRORS_IN_BAND:
        return True
    worse = evidence.relative.peak >= 1 / policy.alpha_relative
    return worse or evidence.healthy.peak >= 1 / policy.alpha_healthy


def _eta_s(found: _Finding, evidence: Evidence, policy: Policy) -> float | None:
    """Seconds until there are requests enough, at the rate and the error ratio seen so far."""
    n, x, phi_hat = evidence.bake.n, evidence.bake.x, evidence.dispersion.phi_hat
    if not n or (x and found.action is not Action.INCONCLUSIVE):
        return None  # with errors it is worked out for the gate only: it costs more than everything else here
    needed = requests_needed(n, x, phi_hat, policy.alpha_promote_now, policy.error_ratio_max)
    if needed is None:
        return None
    return max(0.0, needed - n) / n * (evidence.now_s - evidence.bake_start_s)


def _missing(found: _Finding, evidence: Evidence, policy: Policy) -> int | None:
    """Requests that would let the next look promote, at the error ratio seen so far; worked out for the gate only."""
    if found.action is not Action.INCONCLUSIVE:
        return None
    n, x, alpha = evidence.bake.n, evidence.bake.x, policy.extended(0).alpha_promote_now
    needed = requests_needed(n, x, evidence.dispersion.phi_hat, alpha, policy.error_ratio_max)
    return None if needed is None else max(0, math.ceil(needed - n))


def _ruled_out(found: _Finding, evidence: Evidence, policy: Policy) -> float | None:
    """What is ruled out where requests are too few to rule out 0.5 %: for the policy's step `promote` at the end.

    None where anything else stands in the way: an error ratio that is itself above 0.5 %, or above 0.1 % even without
    its worst scrape. A single error is forgiven.
    """
    bake = evidence.bake
    if found.reason is not Reason.TOO_FEW_REQUESTS or bake.ratio > policy.error_ratio_max:
        return None
    if bake.above(policy.error_ratio_investigate, least=1):
        return None
    rounds = ((one.n, one.x) for one in evidence.rounds)
    return small_fault_bound(rounds, evidence.dispersion.phi_hat, policy.alpha_small_now)


def _verdict(found: _Finding, evidence: Evidence, policy: Policy, services: int, left_s: float) -> Verdict:
    """The finding with everything that people want to know about it."""
    row = row_for(found.reason)
    eta_s = _eta_s(found, evidence, policy)
    attribution = _attribution(found, evidence, policy)
    bound = _bound(evidence, policy)
    return Verdict(
        service=evidence.service,
        action=found.action,
        reason=found.reason,
        explanation=_sentence(found, evidence, policy, bound, eta_s, left_s)
        + (explanation.SHARED if attribution == "shared" else ""),
        signals=(
            *readings(evidence, policy, services),
            *(signal_judge.reading(evidence.signals, state, services) for state in evidence.signals.states),
        ),
        attribution=attribution,
        severity=row.severity if row else None,
        trigger=row.trigger if row else None,
        alert=_alert(found, evidence, policy),
        eta_s=eta_s,
        ruled_out=_ruled_out(found, evidence, policy),
        missing=_missing(found, evidence, policy),
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
    text = signal_judge.sentence(evidence.signals, found.state, policy)
    return f"{text} {left_s:.0f} s of the bake are left." if found.action is Action.CONTINUE else text
