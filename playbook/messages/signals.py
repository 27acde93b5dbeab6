"""The rows of a release's page: one for each service and signal, with its result, value and limit."""

from collections.abc import Sequence
from enum import StrEnum

from playbook.analysis.explanation import odds, percent
from playbook.analysis.readings import SignalReading
from playbook.analysis.verdict import Action, Reason, Verdict
from playbook.messages.escape import markdown


class Result(StrEnum):
    """What a signal says of the canary so far."""

    PASS = "✓ pass"  # noqa: S105  # no password
    FAIL = "✗ fail"
    UNDECIDED = "? undecided"
    UNPROVEN = "~ nothing against it"
    WAITING = "… waiting"


DECIDING: dict[Reason, str] = {
    Reason.OOM_KILLED: "OOM kills",
    Reason.OOM_UNKNOWN: "OOM kills",
    Reason.ERRORS_PROVEN: "errors",
    Reason.ERRORS_MEASURED: "errors",
    Reason.ERRORS_LITERAL: "errors",
    Reason.ERRORS_AT_DEADLINE: "errors",
    Reason.ERRORS_REGRESSED: "errors",
    Reason.ERRORS_IN_BAND: "errors",
    Reason.TOO_FEW_REQUESTS: "errors",
    Reason.NO_TRAFFIC: "errors",
    Reason.COLLECTING: "errors",
    Reason.FIRST_REQUESTS_FAILED: "errors",
    Reason.ERRORS_WORSE: "errors",
    Reason.SHARED_CAUSE: "errors",
    Reason.NEW_ERRORS: "errors",
    Reason.CPU_UNKNOWN: "CPU",
    Reason.MEMORY_UNKNOWN: "memory",
    Reason.CPU: "CPU",
    Reason.MEMORY: "memory",
}
"""The signal that a reason speaks of. Latency has two, the milder first; the other reasons speak of all signals."""
HIDDEN = frozenset({"errors, against healthy", "errors, against stable"})
"""Other tests of the errors: they stand in the evidence below."""


def table(verdicts: Sequence[Verdict], *, has_canary: bool = True, is_over: bool = False) -> str:
    """Every signal of every service, those that decide first. Markdown.

    Without a canary (a hotfix) only evidence against it counts, and no person is asked. ``is_over``: the release has
    ended, so nothing is waited for.
    """
    rows = [row for verdict in verdicts for row in _rows(verdict, has_canary, is_over)]
    columns = ["service", "signal", "result", "value", "limit", *([] if is_over else ["still missing"])]
    return "\n".join((f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows))


def _rows(verdict: Verdict, has_canary: bool, is_over: bool) -> list[str]:
    shown = [signal for signal in verdict.signals if signal.name not in HIDDEN]
    order = (Result.FAIL, Result.UNDECIDED, Result.WAITING, Result.UNPROVEN, Result.PASS)
    results = sorted(
        ((result(verdict, signal, has_canary=has_canary), signal) for signal in shown),
        key=lambda one: order.index(one[0]),
    )
    return [
        f"| {markdown(verdict.service)} | {markdown(named(one))} | {_worded(said, is_over)} | {measured(one)} | "
        f"{limit(one)} |{'' if is_over else f' {missing(verdict, one, said)} |'}"
        for said, one in results
    ]


def _worded(said: Result, is_over: bool) -> str:
    return "– not decided" if is_over and said in (Result.WAITING, Result.UNDECIDED) else said.value


def named(signal: SignalReading) -> str:
    """The signal, and over which time it is counted where two rows count differently."""
    return {"requests": f"{signal.name}, whole bake", "latency": f"{signal.name}, last minutes"}.get(
        signal.slot, signal.name
    )


def result(verdict: Verdict, signal: SignalReading, *, has_canary: bool = True) -> Result:
    """What the signal says of this service. A signal without a number waits; it does not pass."""
    open_ = Result.WAITING if has_canary or verdict.action is Action.CONTINUE else Result.UNPROVEN
    wanted = decides(verdict)
    if wanted is None and verdict.action in (Action.INCONCLUSIVE, Action.CONTINUE):
        return open_  # no metrics, or too old ones
    if signal.name == wanted and verdict.action in (Action.ROLLBACK, Action.SCALE):
        return Result.FAIL
    if signal.name == wanted and verdict.action is Action.INCONCLUSIVE:
        return Result.UNDECIDED if has_canary else Result.UNPROVEN
    if signal.name == wanted and verdict.action is Action.CONTINUE:
        return Result.WAITING
    value = signal.ratio if signal.ratio is not None else signal.bad
    is_beyond = False
    if signal.threshold is not None and value is not None:
        is_beyond = value < signal.threshold if signal.is_minimum else value > signal.threshold
    return open_ if value is None or signal.requests == 0 or is_beyond else Result.PASS


def decides(verdict: Verdict) -> str | None:
    """The name of the signal that the verdict's reason speaks of; None where it speaks of all."""
    if verdict.signal:
        return verdict.signal
    latency = [signal.name for signal in verdict.signals if signal.slot == "latency"]
    match verdict.reason:
        case Reason.LATENCY_5S:
            return latency[-1] if latency else None
        case Reason.LATENCY_2S | Reason.LATENCY_UNKNOWN:
            return latency[0] if latency else None
        case reason:
            return DECIDING.get(reason)


def missing(verdict: Verdict, signal: SignalReading, said: Result) -> str:
    """What would let the judge decide on this signal; a dash where nothing is missing."""
    if said in (Result.PASS, Result.FAIL, Result.UNPROVEN):
        return "–"
    if signal.ratio is None and signal.bad is None:
        return "a first measurement"
    if signal.name == "errors":
        if verdict.missing:
            return f"{verdict.missing:,} requests like these"
        if verdict.action is Action.CONTINUE and verdict.eta_s:
            return f"about {verdict.eta_s:.0f} s more of requests"
    if said is Result.UNDECIDED:
        return "a person's decision"
    return "the end of the bake" if verdict.action is Action.CONTINUE else "newer metrics"


def measured(signal: SignalReading) -> str:
    """The value, with the counts behind it."""
    if signal.requests is not None:
        ratio = f" ({percent(signal.ratio)})" if signal.ratio is not None else ""
        return f"{signal.bad or 0:,} of {signal.requests:,}{ratio}"
    if signal.ratio is not None:
        return f"{signal.ratio:g}" if signal.is_number else percent(signal.ratio)
    return "unknown" if signal.bad is None else f"{signal.bad:,}"


def limit(signal: SignalReading) -> str:
    """The limit of the value."""
    against_stable = f"{signal.factor:g} × stable" if signal.factor is not None else ""
    if signal.threshold is None:
        return against_stable or "–"
    if against_stable:
        return f"{percent(signal.threshold)}, {against_stable}"
    if signal.is_number:
        return f"{'at least ' if signal.is_minimum else ''}{signal.threshold:g}"
    if signal.is_minimum:
        return f"at least {percent(signal.threshold)}"
    return percent(signal.threshold) if signal.threshold else "none"


def evidence_table(signals: Sequence[SignalReading]) -> str:
    """The tests that are behind the rows: how strong the evidence against the canary is, as odds. Markdown."""
    rows = [
        f"| {markdown(one.name)} | {measured(one)} | {_odds(one.evidence)} | {_odds(one.evidence_needed)} |"
        for one in signals
        if one.evidence is not None
    ]
    return "\n".join(("| test | measured | evidence | decides at |", "|---|---|---|---|", *rows))


def _odds(value: float | None) -> str:
    return "–" if value is None else f"{odds(value)} : 1"
