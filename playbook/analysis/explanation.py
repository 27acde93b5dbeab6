"""What a verdict says in words: what was measured against which limit, then what it means or what to do."""

from collections.abc import Iterable

from playbook.analysis.alignment import Round
from playbook.analysis.evidence import Evidence
from playbook.analysis.levels import Window
from playbook.analysis.policy import Policy
from playbook.analysis.shared_cause import SCRAPES as SHARED_SCRAPES
from playbook.analysis.telemetry_checks import UNJUDGED
from playbook.analysis.unfit import telemetry_fault
from playbook.incident.decision_matrix import Reason

SHARED = " Stable fails too, so the cause is probably shared and a rollback may not help."


def sentence(
    reason: Reason, evidence: Evidence, policy: Policy, *, bound: float, eta_s: float | None, left_s: float
) -> str:
    """Why the verdict is what it is, where no signal of [[signals]] decided. ``bound``: the error ratio ruled out;
    ``left_s``: seconds of bake left."""
    text = _against(reason, evidence, policy) or _missing(reason, evidence, policy)
    text = text or _held(reason, evidence, policy) or _counted(reason, evidence, policy, bound, eta_s)
    if evidence.set_aside_s and reason is not Reason.SHARED_CAUSE:
        text = f"{text} Stable failed too for {evidence.set_aside_s:.0f} s, which are not counted."
    return f"{text} {left_s:.0f} s of the bake are left." if left_s and not reason_decides(reason) else text


def reason_decides(reason: Reason) -> bool:
    """Whether this reason ends the bake, so that the time left no longer matters."""
    return reason in _DECIDING


_DECIDING = {
    Reason.OOM_KILLED,
    Reason.ERRORS_PROVEN,
    Reason.ERRORS_MEASURED,
    Reason.ERRORS_REGRESSED,
    Reason.ERRORS_LITERAL,
    Reason.ERRORS_AT_DEADLINE,
    Reason.LATENCY_5S,
}


def _against(reason: Reason, evidence: Evidence, policy: Policy) -> str | None:
    if not reason_decides(reason) or reason is Reason.LATENCY_5S:
        return None
    if reason is Reason.OOM_KILLED:
        killed = "1 instance" if evidence.oom_kills == 1 else f"{evidence.oom_kills} instances"
        return f"{killed} of {evidence.canary} killed for lack of memory; the limit is 0."
    text = _errors(evidence, policy)
    return f"{text} Stable's is {counted(evidence.stable_bake)}." if reason is Reason.ERRORS_REGRESSED else text


def _errors(evidence: Evidence, policy: Policy) -> str:
    """The error rate that is above the limit: of the last minutes, the whole bake, or the part that exceeds it most."""
    line = percent(policy.error_ratio_max)
    if evidence.window.ratio > policy.error_ratio_max:
        return f"Error rate {counted(evidence.window, f'last {policy.literal_window_s:.0f} s')} is above {line}."
    if evidence.bake.ratio > policy.error_ratio_max:
        return f"Error rate {counted(evidence.bake, 'whole bake')} is above {line}."
    worst, since_s, until_s = _worst_stretch(evidence.rounds, policy.error_ratio_max)
    if evidence.rounds and until_s < evidence.rounds[-1].at_s:
        start_s = evidence.bake_start_s
        when = f"{since_s - start_s:.0f} to {until_s - start_s:.0f} s into the bake"
        return f"Error rate {counted(worst, when)} was above {line}."
    return f"Error rate {counted(worst, f'last {evidence.now_s - since_s:.0f} s')} is above {line}."


def _worst_stretch(rounds: Iterable[Round], line: float) -> tuple[Window, float, float]:
    """The rounds in a row whose errors are most above ``line`` of their requests, and when they begin and end: in a
    bake that is judged late, as after a recovery, they may be long over."""
    part, since_s, worst = Window(), 0.0, (Window(), 0.0, 0.0)
    for one in rounds:
        if part.x <= line * part.n:
            part, since_s = Window(), one.at_s - one.dt_s
        part = part.plus(one.n, one.x, 0.0)
        if part.x - line * part.n > worst[0].x - line * worst[0].n:
            worst = part, since_s, one.at_s
    return worst


def _missing(reason: Reason, evidence: Evidence, policy: Policy) -> str | None:
    seconds = evidence.now_s - evidence.bake_start_s
    match reason:
        case Reason.TELEMETRY_MISSING:
            return (
                f"No evidence: no metrics received from {evidence.canary} in {seconds:.0f} s, but for health checks "
                "and scrapes, if any. Check that Prometheus scrapes it, and that users reach it."
            )
        case Reason.TELEMETRY_STALE:
            return (
                f"No evidence: the newest metrics of {evidence.canary} are {evidence.age_s:.0f} s old; the limit is "
                f"{policy.freshness_s:.0f} s. Check Prometheus. Until then the error rate was {counted(evidence.bake)}."
            )
        case Reason.TELEMETRY_PARTIAL:
            return (
                f"No evidence: metrics cover {evidence.covered_s:.0f} of {seconds:.0f} s; at least "
                f"{percent(policy.coverage_min)} is needed. Check Prometheus, or extend the bake."
            )
        case Reason.TELEMETRY_FAULTY:
            return f"No evidence: the metrics of {evidence.canary} {UNJUDGED} {telemetry_fault(evidence, policy)}"
        case Reason.NO_TRAFFIC:
            return (
                f"No evidence: {evidence.canary} received no requests of users in {seconds:.0f} s (health checks and "
                "scrapes are not counted). Send requests, or raise the canary's share."
            )
        case Reason.LATENCY_UNKNOWN:
            return (
                f"No evidence of latency: none of {evidence.bake.n:,.0f} requests has a duration. "
                "Check the latency query in [queries]."
            )
        case Reason.CPU_UNKNOWN | Reason.MEMORY_UNKNOWN:
            name = "cpu" if reason is Reason.CPU_UNKNOWN else "memory"
            return (
                f"No evidence of {'CPU' if name == 'cpu' else name} use: nothing was received in {seconds:.0f} s. "
                f'Check the {name} query in [queries], or say allow_unseen = ["{name}"] in [policy].'
            )
        case Reason.OOM_UNKNOWN:
            return (
                f"The logs did not answer in {seconds:.0f} s, so it is not known whether instances were killed for "
                "lack of memory. Check the worker's access to the logs."
            )
        case Reason.LATENCY_5S if not evidence.latency.bake.n:
            return (
                f"P95 latency was above {policy.p95_rollback_s:g} s before instances were added, and no request was "
                "timed since."
            )
        case _:
            return None


def _held(reason: Reason, evidence: Evidence, policy: Policy) -> str | None:
    asks = "A person decides when the bake ends."
    match reason:
        case Reason.LATENCY_5S:
            is_scaled = evidence.scaled_at_s is not None
            next_step = "More instances did not help." if is_scaled else "More instances are added once."
            return f"{_slow(evidence.recent.of('timed', 'very_slow'), policy.p95_rollback_s, policy)} {next_step}"
        case Reason.FIRST_REQUESTS_FAILED:
            return (
                f"{evidence.doubtful.x:,.0f} of {evidence.doubtful.n:,.0f} requests failed before the first scrape of "
                f"{evidence.canary}; since then {evidence.bake.x:,.0f} of {evidence.bake.n:,.0f}. {asks}"
            )
        case Reason.NEW_ERRORS:
            return (
                f"{evidence.canary} logged {len(evidence.new_errors)} kinds of errors that stable does not have: "
                f"{'; '.join(evidence.new_errors)}. {asks}"
            )
        case Reason.ERRORS_WORSE:
            return (
                f"Error rate {counted(evidence.bake)} is below {percent(policy.error_ratio_investigate)}, but "
                f"stable's is {counted(evidence.stable_bake)}: a regression. One route may be broken. {asks}"
            )
        case Reason.SHARED_CAUSE:
            return _shared(evidence, policy)
        case Reason.LATENCY_2S:
            return f"{_slow(evidence.recent.of('timed', 'slow'), policy.p95_max_s, policy)} {asks}"
        case Reason.CPU | Reason.MEMORY:
            is_cpu = reason is Reason.CPU
            name, line = ("CPU", policy.cpu_max) if is_cpu else ("Memory", policy.memory_max)
            level = evidence.cpu.level if is_cpu else evidence.memory.level
            return (
                f"{name} use was above {percent(line)} for {policy.saturation_s:.0f} s (now {percent(level)}). {asks}"
            )
        case _:
            return None


def _shared(evidence: Evidence, policy: Policy) -> str:
    """``evidence``: without what was set aside."""
    if evidence.set_aside_s:
        return (
            f"Stable fails too, for {evidence.set_aside_s:.0f} s so far: the cause is probably shared. "
            "The canary is judged without that time, once stable is well."
        )
    return (
        f"Error rate {counted(evidence.window, f'last {policy.literal_window_s:.0f} s')}. Whether stable fails too is "
        f"known within {SHARED_SCRAPES * policy.scrape_s:.0f} s."
    )


def _slow(window: Window, line_s: float, policy: Policy) -> str:
    return (
        f"P95 latency is above {line_s:g} s: {percent(window.ratio)} of requests ({window.x:,.0f} of {window.n:,.0f}) "
        f"took longer than {line_s:g} s; the limit is {percent(policy.slow_ratio_max)}."
    )


def _counted(reason: Reason, evidence: Evidence, policy: Policy, bound: float, eta_s: float | None) -> str:
    line = percent(policy.error_ratio_max)
    if not evidence.bake.n:
        return f"No requests yet; an error rate of {line} must be ruled out."
    rate = f"Error rate {counted(evidence.bake)}"
    if reason is Reason.ERRORS_IN_BAND:
        return (
            f"{rate} is between {percent(policy.error_ratio_investigate)} and {line}: too high to promote, "
            "too low to roll back without a person."
        )
    if reason is Reason.HEALTHY:
        return f"{rate} is below {line}; {percent(bound)} or more is ruled out."
    if reason is Reason.TOO_FEW_REQUESTS:
        wait = (
            "More requests like these will not decide it." if eta_s is None else f"About {eta_s:.0f} s more would do."
        )
        return f"{rate}: too few requests to rule out {line} (so far {percent(bound)} is ruled out). {wait}"
    return f"{rate}; so far {percent(bound)} is ruled out, and {line} must be."


def counted(window: Window, when: str = "") -> str:
    """The ratio, and how many of how many: ``4.8 % (18 of 376 requests, last 20 s)``."""
    during = f", {when}" if when else ""
    return f"{percent(window.ratio)} ({window.x:,.0f} of {window.n:,.0f} requests{during})"


def percent(ratio: float) -> str:
    """A ratio in percent, with three significant digits."""
    return f"{100 * ratio:.3g} %"


def odds(value: float) -> str:
    """An e-value for people: 312, 4,100, or "more than a million"."""
    return "more than a million" if value > 1e6 else f"{value:,.0f}"
