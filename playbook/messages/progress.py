"""How far a bake is, in one line: seconds left, and each service's distance to its limits."""

from collections.abc import Sequence

from playbook.analysis.explanation import percent
from playbook.analysis.readings import SignalReading
from playbook.analysis.verdict import Verdict
from playbook.messages.signals import Result, limit, measured, result


def done_percent(now_s: float, start_s: float, ends_s: float) -> float:
    """The share of the bake that is over, 0 to 100."""
    whole_s = max(ends_s - start_s, 1.0)
    return round(100 * min(max((now_s - start_s) / whole_s, 0.0), 1.0), 1)


def bake_line(verdicts: Sequence[Verdict], now_s: float, ends_s: float) -> str:
    """``42 s left. backend: errors 0 of 312 (0 %), limit 0.5 %; closest to its limit: memory 71 % of 85 %. …``"""
    left = f"{max(0.0, ends_s - now_s):.0f} s left."
    return " ".join([left, *map(_service, verdicts)])


def _service(verdict: Verdict) -> str:
    errors = next((one for one in verdict.signals if one.name == "errors"), None)
    closest = max(verdict.signals, key=_nearness, default=None)
    parts = []
    if errors is not None and errors.threshold:
        parts.append(f"errors {measured(errors)}, limit {percent(errors.threshold)}")
    if closest is not None and closest.name != "errors" and _nearness(closest) > 0:
        parts.append(f"closest to its limit: {closest.name}, {measured(closest)}, limit {limit(closest)}")
    waiting = [one.name for one in verdict.signals if result(verdict, one) is Result.WAITING and one.ratio is None]
    if waiting:
        parts.append(f"no number yet: {', '.join(waiting)}")
    return f"{verdict.service}: {'; '.join(parts) or 'nothing measured yet'}."


def _nearness(signal: SignalReading) -> float:
    """Value divided by limit, or limit by value where the limit is the least allowed; 0 where either is unknown.

    A number of things that is as large as it must be (one instance of one) is no closer to its limit than it should be.
    """
    if signal.ratio is None or not signal.threshold:
        return 0.0
    if signal.is_minimum and signal.is_number and signal.ratio >= signal.threshold:
        return 0.0
    if signal.is_minimum:
        return signal.threshold / signal.ratio if signal.ratio > 0 else 1.0
    return signal.ratio / signal.threshold
