"""The forecast of a bake as people read it: one sentence for each service, and a table for the page."""

import math
from collections.abc import Sequence

from playbook.analysis.explanation import percent
from playbook.analysis.forecast import SURE, Bake, Forecast
from playbook.analysis.policy import LowTraffic
from playbook.messages.escape import markdown
from playbook.messages.times import minutes


def sentence(one: Forecast) -> str:
    """What the bake of one service will be able to say, and what was changed for it."""
    planned, chosen = one.planned, one.chosen
    if planned is None or chosen is None:
        return (
            f"How many requests will reach {one.service}'s canary is not known: Prometheus has none of its requests in "
            f"the last hour or in the same hour last week. Its share is {one.percent} %, the bake "
            f"{minutes(one.bake_s)}."
        )
    if not one.traffic.per_s:
        return f"No request is expected at {one.service}'s canary: its users sent none. {_then(one, chosen)}".strip()
    said = f"About {_count(planned.requests)} requests will reach {one.service}'s canary in {minutes(planned.bake_s)}"
    text = f"{said}; {_faults(planned)}."
    if chosen != planned:
        text += f" {_changed(planned, chosen)}: about {_count(chosen.requests)} requests; {_faults(chosen)}."
    return f"{text} {_then(one, chosen)}".strip()


def _changed(planned: Bake, chosen: Bake) -> str:
    share = f"share is raised to {chosen.percent} %" if chosen.percent != planned.percent else ""
    bake = f"bake is {minutes(chosen.bake_s)}" if chosen.bake_s != planned.bake_s else ""
    if share and bake:
        return f"The {share} and the bake to {minutes(chosen.bake_s)}"
    return f"The {share or bake}"


def _faults(bake: Bake) -> str:
    if not bake.found:
        return "no fault is sure to be found"
    found = f"a fault of {percent(bake.found[-1])} would be found"
    return found if bake.missed is None else f"{found}, one of {percent(bake.missed)} would not"


def _then(one: Forecast, chosen: Bake) -> str:
    """What comes after the bake where it is too short to promote on evidence; empty where it is not."""
    if chosen.promotes >= SURE:
        return ""
    few = "That is too few to rule out 0.5 %" if chosen.requests else ""
    for step in one.steps:
        match step:
            case LowTraffic.PROMOTE if chosen.promotes_small >= SURE:
                ruled_out = f"a healthy release is promoted once a fault of {percent(one.small_fault)} is ruled out"
                return f"{few}: {ruled_out}." if few else f"{ruled_out[0].upper()}{ruled_out[1:]}."
            case LowTraffic.PROBE:
                return _after(few, "requests of our own will be sent after the bake")
            case LowTraffic.HOLD:
                return _after(few, "the release will wait for requests after the bake")
            case _:
                continue
    return _after(few, "a person will be asked")


def _after(few: str, what: str) -> str:
    return f"{few}: {what}." if few else f"{what[0].upper()}{what[1:]}."


def forecast_table(forecasts: Sequence[Forecast]) -> str:
    """The sentences, and a table of every service. Markdown."""
    head = (
        "| service | requests/s, last hour | the same hour last week | canary | requests expected | faults found (9 in "
        "10) | needed to rule out a large fault | needed to promote on evidence |"
    )
    said = "\n".join(f"- {markdown(sentence(one))}" for one in forecasts)
    return "\n".join((said, "", head, "|---|---|---|---|---|---|---|---|", *map(_row, forecasts)))


def _row(one: Forecast) -> str:
    chosen = one.chosen
    cells = (
        markdown(one.service),
        _rate(one.traffic.last_hour),
        _rate(one.traffic.last_week),
        f"{one.percent} % for {minutes(one.bake_s)}",
        "not known" if chosen is None else _count(chosen.requests),
        ", ".join(map(percent, chosen.found)) if chosen and chosen.found else "–",
        f"{percent(one.small_fault)}: {need(one, one.needed_small)}",
        need(one, one.needed),
    )
    return f"| {' | '.join(cells)} |"


def need(one: Forecast, requests: float) -> str:
    """So many requests, and the share or the bake that would bring them."""
    if not math.isfinite(requests):
        return "–"
    planned, per_s = one.planned, one.traffic.per_s
    if planned is None or not per_s:
        return f"{_count(requests)} requests"
    if planned.requests >= requests:
        return f"{_count(requests)} requests: enough"
    longer = minutes(60 * math.ceil(requests / per_s / planned.percent * 100 / 60))
    bake = f"{longer} at {planned.percent} %"
    share = math.ceil(100 * requests / per_s / planned.bake_s)
    more = f"{share} % for {minutes(planned.bake_s)}, or {bake}" if share <= 100 else bake
    return f"{_count(requests)} requests: {more}"


def _rate(per_s: float | None) -> str:
    return "not known" if per_s is None else f"{per_s:.3g}"


def _count(requests: float) -> str:
    """A count with three significant digits."""
    return f"{float(f'{requests:.3g}'):,.0f}"
