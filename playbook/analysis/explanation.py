"""One sentence for each reason: the numbers, and what would change the decision."""

from playbook.analysis.evidence import Evidence
from playbook.analysis.levels import Window
from playbook.analysis.policy import Policy
from playbook.incident.decision_matrix import Reason

SHARED = " Stable fails alike, so the cause is probably shared and rolling back may not help."


def sentence(
    reason: Reason, evidence: Evidence, policy: Policy, *, bound: float, eta_s: float | None, left_s: float
) -> str:
    """Why the verdict is what it is. ``bound``: the error ratio ruled out; ``left_s``: seconds of bake left."""
    text = _against(reason, evidence, policy)
    text = text or _missing(reason, evidence, policy) or _held(reason, evidence, policy)
    if text is None:
        text = _counted(reason, evidence, policy, bound, eta_s)
    return f"{text}; {left_s:.0f} s of the bake are left." if left_s and not reason_decides(reason) else f"{text}."


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
    if not reason_decides(reason):
        return None
    line, bake, window = percent(policy.error_ratio_max), counted(evidence.bake), counted(evidence.window)
    stable = counted(evidence.stable_bake)
    match reason:
        case Reason.OOM_KILLED:
            return f"{evidence.oom_kills} instances of {evidence.canary} were killed for lack of memory; none may be"
        case Reason.ERRORS_PROVEN:
            return (
                f"{bake} failed: {odds(evidence.ceiling.peak)} to 1 against a ratio at or below {line}, "
                "and nothing that follows can undo that"
            )
        case Reason.ERRORS_MEASURED:
            return (
                f"{window} failed in the last {policy.literal_window_s:.0f} s, above {line} even without the worst "
                f"burst, and {odds(evidence.healthy.peak)} to 1 against a healthy canary"
            )
        case Reason.ERRORS_REGRESSED:
            return (
                f"{window} failed in the last {policy.literal_window_s:.0f} s, above {line}, and "
                f"{odds(evidence.relative.peak)} to 1 against its being as good as stable ({stable})"
            )
        case Reason.ERRORS_LITERAL:
            return f"{window} failed in the last {policy.literal_window_s:.0f} s: above {line} on enough requests"
        case Reason.ERRORS_AT_DEADLINE:
            return f"{bake} failed over the bake, {window} at its end: above {line} even without the worst burst"
        case _:
            return None


def _missing(reason: Reason, evidence: Evidence, policy: Policy) -> str | None:
    seconds = evidence.now_s - evidence.bake_start_s
    match reason:
        case Reason.TELEMETRY_MISSING:
            return f"no evidence: nothing was ever seen of {evidence.canary}; its samples would change this"
        case Reason.TELEMETRY_STALE:
            return (
                f"no evidence: the last sample of {evidence.canary} is {evidence.age_s:.0f} s old, more than "
                f"{policy.freshness_s:.0f} s; a fresh one would change this"
            )
        case Reason.TELEMETRY_PARTIAL:
            return (
                f"no evidence: {evidence.covered_s:.0f} of {seconds:.0f} s were seen, less than "
                f"{policy.coverage_min:.0%}; a longer bake with telemetry would change this"
            )
        case Reason.NO_TRAFFIC:
            return (
                f"no evidence: {evidence.canary} is seen and got no request in {seconds:.0f} s; "
                "requests would change this"
            )
        case Reason.LATENCY_UNKNOWN:
            return (
                f"no evidence of latency: {evidence.bake.n:,.0f} requests and not one with a duration; a latency query "
                "that finds them would change this"
            )
        case Reason.OOM_UNKNOWN:
            return (
                "nobody could say whether instances were killed for lack of memory; logs that answer would change this"
            )
        case Reason.LATENCY_5S if not evidence.latency.bake.n:
            return (
                f"p95 was above {policy.p95_rollback_s:g} s before it got more instances, and nothing was timed since; "
                "requests would change this"
            )
        case _:
            return None


def _held(reason: Reason, evidence: Evidence, policy: Policy) -> str | None:
    match reason:
        case Reason.LATENCY_5S:
            return (
                f"{counted(evidence.recent.of('timed', 'very_slow'))} took longer than {policy.p95_rollback_s:g} s "
                f"({odds(evidence.latency.very_slow.peak)} to 1 that more than {policy.slow_ratio_max:.0%} do); "
                "more instances are tried once, then it is rolled back"
            )
        case Reason.LATENCY_2S:
            return (
                f"{counted(evidence.recent.of('timed', 'slow'))} took longer than {policy.p95_max_s:g} s "
                f"({odds(evidence.latency.slow.peak)} to 1 that more than {policy.slow_ratio_max:.0%} do); "
                "a person decides when the bake ends"
            )
        case Reason.CPU | Reason.MEMORY:
            name, line, level = (
                ("CPU", policy.cpu_max, evidence.cpu.level)
                if reason is Reason.CPU
                else ("memory", policy.memory_max, evidence.memory.level)
            )
            return (
                f"{name} was above {line:.0%} for {policy.saturation_s:.0f} s (now {level:.0%}); "
                "a person decides when the bake ends"
            )
        case _:
            return None


def _counted(reason: Reason, evidence: Evidence, policy: Policy, bound: float, eta_s: float | None) -> str:
    bake, line = counted(evidence.bake), percent(policy.error_ratio_max)
    if reason is Reason.ERRORS_IN_BAND:
        return (
            f"{bake} failed, between {percent(policy.error_ratio_investigate)} and {line}: "
            "too many to promote, too few to roll back without a person"
        )
    if not evidence.bake.n:
        return f"no request yet; {line} must be ruled out"
    ruled_out = f"{bake} failed, which rules out {percent(bound)}"
    if reason is Reason.HEALTHY:
        return f"{ruled_out} and more: below {line}"
    if reason is Reason.TOO_FEW_REQUESTS:
        wait = "more requests like these would not" if eta_s is None else f"{eta_s:.0f} s more at this rate would"
        return f"{ruled_out} but not yet {line}; {wait} change this"
    return f"{ruled_out} and more; {line} must be ruled out"


def counted(window: Window) -> str:
    """How many of how many, and the ratio."""
    return f"{window.x:,.0f} of {window.n:,.0f} requests ({percent(window.ratio)})"


def percent(ratio: float) -> str:
    """A ratio in percent, with three significant digits."""
    return f"{100 * ratio:.3g} %"


def odds(value: float) -> str:
    """An e-value for people: 312, 4,100, or "more than a million"."""
    return "more than a million" if value > 1e6 else f"{value:,.0f}"
