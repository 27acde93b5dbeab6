"""The rules of the judge: which of them holds first, of the evidence so far.

Three layers, in this order: hard events (a kill for lack of memory), tests that may be looked at all the time
(`sequential`), and the playbook's literal numbers once there is enough to measure them on. Promotion only at the bake's
end and only on positive evidence. What is missing is a reason of its own: neither health nor guilt.
"""

import math
from enum import StrEnum
from typing import NamedTuple

from playbook.analysis import outlook, signal_judge
from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import NewErrors, Policy, SharedCause
from playbook.analysis.shared_cause import fails_now, settled, without_shared
from playbook.analysis.signal_states import State
from playbook.analysis.signals import Absence, Breach, Ratio
from playbook.analysis.unfit import telemetry_fault
from playbook.incident.decision_matrix import Reason


class Action(StrEnum):
    """What to do now, the worst first: of several services the worst speaks for the release."""

    ROLLBACK = "ROLLBACK"
    SCALE = "SCALE"
    INCONCLUSIVE = "INCONCLUSIVE"  # a person decides
    CONTINUE = "CONTINUE"  # look again
    PROMOTE = "PROMOTE"


SPEAKS_AGAINST = (Action.ROLLBACK, Action.SCALE)


class Finding(NamedTuple):
    """What to do, why, and the signal of [[signals]] that decided, if one did."""

    action: Action
    reason: Reason
    state: State | None = None


def find(evidence: Evidence, policy: Policy, services: int, scaled: bool, at_end: bool) -> tuple[Evidence, Finding]:
    """What holds first, in the order that `judge` gives, and the evidence that it rests on.

    Where the policy holds for a shared cause, that is the evidence without it. A canary that is surely worse than
    stable, or was killed for memory, is judged as always.
    """
    if policy.shared_cause is SharedCause.ROLLBACK or evidence.relative.peak >= services / policy.alpha_relative:
        return evidence, _found(evidence, policy, services, scaled, at_end)
    left = without_shared(evidence, policy)
    found = _found(left, policy, services, scaled, at_end)
    is_against, state = found.action in SPEAKS_AGAINST, found.state
    waits = Finding(Action.INCONCLUSIVE if at_end else Action.CONTINUE, Reason.SHARED_CAUSE)
    if found.reason is Reason.OOM_KILLED:
        return left, found
    if is_against and state and not isinstance(state.signal, Ratio):  # it is not known when it was beyond its limit
        return left, waits._replace(reason=Reason.SIGNAL_HELD, state=state) if left.set_aside_s else found
    if is_against:
        is_sure = _found(settled(left), policy, services, scaled, at_end).action in SPEAKS_AGAINST
        return left, found if is_sure or evidence.age_s > policy.freshness_s else waits
    needed_s = policy.coverage_min * min(policy.bake_s, policy.horizon_s)
    too_little = at_end and bool(left.set_aside_s) and left.covered_s < needed_s
    return left, waits if too_little or fails_now(evidence, policy) else found


def _found(evidence: Evidence, policy: Policy, services: int, scaled: bool, at_end: bool) -> Finding:
    """What holds first, in the order that `judge` gives."""
    if found := _against(evidence, policy, services) or _breached(evidence, Breach.ROLLBACK, services, at_end):
        return found
    if scaled or not at_end:
        slow = Reason.LATENCY_5S if _too_slow(evidence, policy, services) else None
        found = Finding(Action.SCALE, slow) if slow else _breached(evidence, Breach.SCALE, services, at_end)
        if found:
            return found._replace(action=Action.ROLLBACK) if scaled else found
    return _at_end(evidence, policy, services) if at_end else _meanwhile(evidence, policy, services)


def _against(evidence: Evidence, policy: Policy, services: int) -> Finding | None:
    """What rolls back at any time, whatever else is known."""
    if evidence.oom_kills:
        return Finding(Action.ROLLBACK, Reason.OOM_KILLED)
    for peak, alpha, reason in (
        (evidence.ceiling.peak, policy.alpha_ceiling, Reason.ERRORS_PROVEN),
        (evidence.healthy_confirmed, policy.alpha_healthy, Reason.ERRORS_MEASURED),
        (evidence.relative_confirmed, policy.alpha_relative, Reason.ERRORS_REGRESSED),
    ):
        if peak >= services / alpha:
            return Finding(Action.ROLLBACK, reason)
    if evidence.literal:
        return Finding(Action.ROLLBACK, Reason.ERRORS_LITERAL)
    return None


def _breached(evidence: Evidence, breach: Breach, services: int, at_end: bool) -> Finding | None:
    """The first signal of [[signals]] with this consequence that is beyond its limit."""
    action = {Breach.ROLLBACK: Action.ROLLBACK, Breach.SCALE: Action.SCALE, Breach.HOLD: Action.INCONCLUSIVE}[breach]
    reason = Reason.SIGNAL_HELD if breach is Breach.HOLD else Reason.SIGNAL_BREACHED
    signals, least = evidence.signals, evidence.least
    for state in signals.states:
        if state.signal.breach is breach and signal_judge.is_breached(
            signals, state, least=least, services=services, at_end=at_end
        ):
            return Finding(action, reason, state)
    return None


def _too_slow(evidence: Evidence, policy: Policy, services: int = 1) -> bool:
    """Whether the p95 is above 5 s, by evidence or by measure."""
    return evidence.latency.measured or evidence.latency.very_slow_confirmed >= services / policy.alpha_latency


def _unseen(evidence: Evidence, policy: Policy) -> Reason | None:
    """What is missing from the telemetry, if anything is."""
    if evidence.age_s <= policy.freshness_s:
        return None
    return Reason.TELEMETRY_STALE if evidence.rounds else Reason.TELEMETRY_MISSING


def _meanwhile(evidence: Evidence, policy: Policy, services: int) -> Finding:
    """What to say while the bake goes on: what would stand in the way of promotion if it ended now."""
    no_traffic = not evidence.bake.n and evidence.now_s - evidence.bake_start_s > policy.freshness_s
    doubt = Reason.FIRST_REQUESTS_FAILED if _first_failed(evidence, policy) else None
    faulty = Reason.TELEMETRY_FAULTY if telemetry_fault(evidence, policy) else None
    held = doubt or _unseen(evidence, policy) or faulty or _held(evidence, policy)
    if held := held or (Reason.NO_TRAFFIC if no_traffic else None):
        return Finding(Action.CONTINUE, held)
    if found := _breached(evidence, Breach.HOLD, services, False):
        return found._replace(action=Action.CONTINUE)
    return Finding(Action.CONTINUE, _doubted(evidence, policy, services) or Reason.COLLECTING)


def _doubted(evidence: Evidence, policy: Policy, services: int) -> Reason | None:
    """Errors that are no reason to roll back, and too many to promote."""
    if _in_band(evidence, policy):
        return Reason.ERRORS_IN_BAND
    return Reason.ERRORS_WORSE if _is_worse(evidence, policy, services) else None


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
    if slow or (latency.bake.x >= least and evidence.recent.of("timed", "maybe_slow").above(line, least)):
        return Reason.LATENCY_2S
    if evidence.cpu.held:
        return Reason.CPU
    return Reason.MEMORY if evidence.memory.held else None


def _in_band(evidence: Evidence, policy: Policy) -> bool:
    """Whether errors are measured above 0.1 %, over the bake or over the last five minutes."""
    line, least = policy.error_ratio_investigate, evidence.least
    return evidence.bake.above(line, least) or evidence.window.above(line, least)


def _at_end(evidence: Evidence, policy: Policy, services: int) -> Finding:
    """The verdict when the bake is over and nothing spoke against the canary before. Never CONTINUE."""
    line, least, bake = policy.error_ratio_max, evidence.least, evidence.bake
    if bake.above(line, least) or evidence.window.above(line, least):
        return Finding(Action.ROLLBACK, Reason.ERRORS_AT_DEADLINE)
    if _first_failed(evidence, policy):
        return Finding(Action.INCONCLUSIVE, Reason.FIRST_REQUESTS_FAILED)
    missing, watched_s = _unseen(evidence, policy), evidence.now_s - evidence.bake_start_s - evidence.set_aside_s
    if telemetry_fault(evidence, policy):
        missing = Reason.TELEMETRY_FAULTY
    elif not evidence.rounds:
        missing = Reason.TELEMETRY_MISSING
    elif missing is None and evidence.covered_s < policy.coverage_min * watched_s:
        missing = Reason.TELEMETRY_PARTIAL
    elif missing is None and not bake.n:
        missing = Reason.NO_TRAFFIC
    elif missing is None:
        missing = _unknown(evidence, policy)
    if held := missing or _held(evidence, policy):
        return Finding(Action.INCONCLUSIVE, held)
    if found := _breached(evidence, Breach.HOLD, services, True) or _breached(evidence, Breach.SCALE, services, True):
        return found._replace(action=Action.INCONCLUSIVE, reason=Reason.SIGNAL_HELD)
    for state in evidence.signals.states:
        if state.signal.absence is Absence.HOLD and not state.is_seen:
            return Finding(Action.INCONCLUSIVE, Reason.SIGNAL_UNKNOWN, state)
    if doubted := _doubted(evidence, policy, services):
        return Finding(Action.INCONCLUSIVE, doubted)
    if policy.new_errors is NewErrors.HOLD and evidence.new_errors:
        return Finding(Action.INCONCLUSIVE, Reason.NEW_ERRORS)
    if outlook.bound(evidence, policy) >= line:
        return Finding(Action.INCONCLUSIVE, Reason.TOO_FEW_REQUESTS)
    return Finding(Action.PROMOTE, Reason.HEALTHY)


def _unknown(evidence: Evidence, policy: Policy) -> Reason | None:
    """What was never seen although there were requests: a signal that is missing is not a healthy one."""
    is_scaled, allowed = evidence.scaled_at_s is not None, policy.allow_unseen
    if not evidence.latency.bake.n and (is_scaled or "latency" not in allowed):
        return Reason.LATENCY_5S if is_scaled else Reason.LATENCY_UNKNOWN
    seen = {
        Reason.OOM_UNKNOWN: evidence.oom_kills is not None or "oom_kills" in allowed,
        Reason.CPU_UNKNOWN: not math.isnan(evidence.cpu.level) or is_scaled or "cpu" in allowed,
        Reason.MEMORY_UNKNOWN: not math.isnan(evidence.memory.level) or is_scaled or "memory" in allowed,
    }
    return next((reason for reason, is_seen in seen.items() if not is_seen), None)
