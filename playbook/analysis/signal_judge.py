"""What each signal of [[signals]] says: whether it is a breach, in which words, and its row on the card."""

import functools

from playbook.analysis.explanation import counted, percent
from playbook.analysis.levels import Window
from playbook.analysis.policy import Policy
from playbook.analysis.readings import SignalReading
from playbook.analysis.signal_counts import Column
from playbook.analysis.signal_states import Compared, SignalStates, State
from playbook.analysis.signals import Breach, Count, Gauge, Ratio, Share


def is_breached(states: SignalStates, state: State, *, least: float, services: int, at_end: bool) -> bool:
    """Whether this signal is beyond its limit, as surely as it says.

    A fixed limit of a ratio: by evidence at any time; measured, over the bake or its last minutes, when the bake is
    over. A factor: by evidence, and still so. ``least``: bad ones that a measured ratio needs.
    """
    match state.signal:
        case Ratio() as signal:
            return any(
                _above_limit(one, signal, least, services, at_end)
                or _worse(one, signal, least, services * len(state.compared))
                for one in state.compared.values()
            )
        case Share() as signal:
            is_proven = state.share.peak >= services / signal.alpha and state.events > 0  # without any: no traffic
            return is_proven and _share(state) < signal.at_least * (states.canary_share or 0.0)
        case Gauge():
            return state.is_held
        case Count() as signal:
            return state.events > signal.limit


def _above_limit(one: Compared, signal: Ratio, least: float, services: int, at_end: bool) -> bool:
    if signal.limit is None:
        return False
    is_proven = max(one.ceiling.peak, one.lasting.confirmed) >= services / signal.alpha
    if not (at_end or is_proven):
        return False
    lately, _ = one.lately
    measured = at_end and (one.bake.above(signal.limit, least) or lately.above(signal.limit, least))
    if signal.breach is Breach.HOLD:  # as long as it is true
        return measured or (is_proven and max(one.bake.ratio, lately.ratio) > signal.limit)
    return is_proven or measured


def _worse(one: Compared, signal: Ratio, least: float, tests: int) -> bool:
    if signal.factor is None or one.relative.peak < tests / signal.alpha:
        return False
    lately = one.lately
    return all(
        canary.x >= least and canary.ratio >= signal.floor and _odds(canary) > signal.factor * _odds(stable)
        for canary, stable in ((one.bake, one.stable), lately)
    )


def _odds(window: Window) -> float:
    good = window.n - window.x
    return window.x / good if good > 0 else float("inf")


def _share(state: State) -> float:
    """The canary's completed requests of all, in the last minutes."""
    n, m = sum(one.n for one in state.recent), sum(one.m for one in state.recent)
    return n / (n + m) if n + m else 1.0


def _worst(state: State, signal: Ratio) -> tuple[Column, Compared] | None:
    """The comparison that says most against the canary, of those whose ratio matters if there is one."""
    found = [one for one in state.compared.items() if one[1].bake.ratio >= signal.floor] or list(state.compared.items())
    return max(found, key=lambda one: max(one[1].relative.peak, one[1].ceiling.peak), default=None)


def sentence(states: SignalStates, state: State, policy: Policy, *, is_held: bool) -> str:
    """What was measured, the limit, and what follows. ``is_held``: a person decides, whatever its row says."""
    name, ends = state.signal.name[:1].upper() + state.signal.name[1:], _NEXT[state.signal.breach]
    if is_held and state.signal.breach is not Breach.HOLD:
        ends = f"Stable failed meanwhile, too. {_NEXT[Breach.HOLD]}"
    match state.signal:
        case Ratio() as signal:
            return f"{_ratio_sentence(name, state, signal)} {ends}"
        case Share() as signal:
            expected = states.canary_share or 0.0
            return (
                f"{name}: the canary answered {percent(_share(state))} of all requests in the last "
                f"{policy.literal_window_s:.0f} s; it gets {percent(expected)} of the users, and at least "
                f"{percent(signal.at_least * expected)} is expected. Requests hang, or are lost. {ends}"
            )
        case Gauge() as signal:
            bound = f"above {signal.limit:g}" if signal.limit is not None else f"below {signal.at_least:g}"
            seconds = signal.for_s or policy.saturation_s
            return f"{name}: one instance was {bound} for {seconds:.0f} s (now {state.level or 0.0:g}). {ends}"
        case Count() as signal:
            return f"{name}: {state.events:,.0f} since the bake began; the limit is {signal.limit}. {ends}"


_NEXT = {
    Breach.HOLD: "A person decides when the bake ends.",
    Breach.SCALE: "More instances are added once.",
    Breach.ROLLBACK: "Rolling back.",
}


def _ratio_sentence(name: str, state: State, signal: Ratio) -> str:
    found = _worst(state, signal)
    if found is None:
        return f"{name}: nothing was counted."
    column, one = found
    lately, _ = one.lately
    if isinstance(column, float):
        name = f"{name}: slower than {column:g} s"
    if signal.limit is not None and max(one.bake.ratio, lately.ratio) > signal.limit:
        seen = lately if lately.ratio > signal.limit else one.bake
        return f"{name}: {counted(seen)}; the limit is {percent(signal.limit)}."
    if signal.factor is None:
        return f"{name}: {counted(lately)}; it came in a burst above {percent(signal.limit or 0.0)}."
    return (
        f"{name}: {counted(one.bake)} on the canary, {counted(one.stable)} on stable; at most {signal.factor:g} times "
        "stable's is fine."
    )


def unknown(state: State) -> str:
    """That a signal was never seen, and what to check."""
    return (
        f"{state.signal.name}: nothing was received ({', '.join(state.signal.queries)}). Check its query in "
        '[[signals]], or say absence = "allow" there.'
    )


def reading(states: SignalStates, state: State, services: int) -> SignalReading:
    """Its row on the card."""
    signal, share = state.signal, states.canary_share
    row = functools.partial(SignalReading, name=signal.name, slot=signal.name)
    match signal:
        case Ratio():
            tests = services * max(1, len(state.compared)) if signal.factor is not None else services
            row = functools.partial(
                row, threshold=signal.limit, factor=signal.factor, evidence_needed=tests / signal.alpha
            )
            if (found := _worst(state, signal)) is None:
                return row()
            n, x, peak = found[1].bake.n, found[1].bake.x, max(found[1].ceiling.peak, found[1].relative.peak)
            return row(requests=int(n), bad=int(x), ratio=x / n if n else None, evidence=peak)
        case Share():
            return row(
                ratio=_share(state) if state.recent else None,
                threshold=None if share is None else signal.at_least * share,
                is_minimum=True,
                evidence=state.share.peak,
                evidence_needed=services / signal.alpha,
            )
        case Gauge():
            is_minimum = signal.limit is None
            threshold = signal.at_least if is_minimum else signal.limit
            return row(ratio=state.level, threshold=threshold, is_minimum=is_minimum, is_number=True)
        case Count():
            return row(threshold=signal.limit, bad=int(state.events) if state.is_seen else None)
