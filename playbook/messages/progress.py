"""How far a bake is: seconds left, and each service's distance to each of its limits, as a line and as a table."""

from collections.abc import Sequence

from playbook.analysis.explanation import percent
from playbook.analysis.readings import SignalReading
from playbook.analysis.verdict import Verdict
from playbook.messages.escape import markdown
from playbook.messages.signals import HIDDEN, limit, measured, named

GAP = "&emsp; | "
"""Between cells: a description in Prefect's UI has tables without any space between columns (3.9.1)."""
BAR = 10
"""Characters of a bar that is full: at its limit."""


def done_percent(now_s: float, start_s: float, ends_s: float) -> float:
    """The share of the bake that is over, 0 to 100."""
    whole_s = max(ends_s - start_s, 1.0)
    return round(100 * min(max((now_s - start_s) / whole_s, 0.0), 1.0), 1)


def bake_line(verdicts: Sequence[Verdict], now_s: float, ends_s: float) -> str:
    """``42 s left. backend: errors 0 of 312 (0 %), limit 0.5 %. Closest to its limit: backend: memory, 71 %, …``"""
    errors = [f"{one.service}: {text}." for one in verdicts if (text := _errors(one))]
    return " ".join([_left(now_s, ends_s), *(errors or ["Nothing is measured yet."]), *_closest(verdicts)])


def _errors(verdict: Verdict) -> str:
    found = next((one for one in verdict.signals if one.name == "errors"), None)
    if found is None or not found.threshold:
        return ""
    return f"errors {measured(found)}, limit {percent(found.threshold)}"


def _closest(verdicts: Sequence[Verdict]) -> list[str]:
    """The signal of all services that has used most of its limit, unless that is the errors."""
    every = [(one, signal) for one in verdicts for signal in one.signals]
    if not every:
        return []
    verdict, signal = max(every, key=lambda pair: _nearness(pair[1]))
    if signal.name == "errors" or _nearness(signal) <= 0:
        return []
    return [f"Closest to its limit: {verdict.service}: {signal.name}, {measured(signal)}, limit {limit(signal)}."]


def bake_text(verdicts: Sequence[Verdict], now_s: float, ends_s: float) -> str:
    """The same line, and below it a row for each service and signal: how much of its limit is used. Markdown."""
    left = _left(now_s, ends_s)
    line = f"**{left}** {markdown(bake_line(verdicts, now_s, ends_s).removeprefix(left))}"
    rows = [_row(verdict, one) for verdict in verdicts for one in _nearest_first(verdict)]
    if not rows:
        return line
    head = f"| {GAP.join(('service', 'signal', 'now', 'limit', 'of the limit'))} |"
    return f"{line}\n\n" + "\n".join((head, "|:---|:---|:---|:---|:---|", *rows))


def _left(now_s: float, ends_s: float) -> str:
    return f"{max(0.0, ends_s - now_s):.0f} s left."


def _bar(share: float) -> str:
    full = round(BAR * min(max(share, 0.0), 1.0))
    return "█" * full + "░" * (BAR - full)


def _nearest_first(verdict: Verdict) -> list[SignalReading]:
    shown = [one for one in verdict.signals if one.name not in HIDDEN]
    return sorted(shown, key=_nearness, reverse=True)


def _row(verdict: Verdict, signal: SignalReading) -> str:
    """``| backend | memory | 71 % | 85 % | ████████░░ 84 % |``; more than all of a limit says so."""
    near = _nearness(signal)
    used = f"{_bar(near)} {100 * near:.0f} %"
    if signal.ratio is None:
        used = "no number yet" if signal.bad is None else "–"
    cells = (markdown(verdict.service), markdown(named(signal)), measured(signal), limit(signal), used)
    return f"| {GAP.join(cells)} |"


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
