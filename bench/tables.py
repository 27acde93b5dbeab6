"""Markdown tables of what was measured, and the place on a page that each goes to."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, median

from bench.simulator import Family


@dataclass(frozen=True)
class Cell:
    """One rule on one family at one rate. Shares are 0-1; ``errors``: the canary's 5xx that users saw, on average."""

    rule: str
    family: Family
    rate: float
    rolled_back: float
    promoted: float
    delay_s: float | None
    delay_p95_s: float | None
    errors: float
    shared: float


def fill(page: str, made: dict[str, str]) -> str:
    """The page with each table between its marks, ``<!-- table NAME -->`` and ``<!-- end -->``."""
    for name, text in made.items():
        places = re.findall(rf"<!-- table {re.escape(name)} -->\n.*?<!-- end -->", page, re.DOTALL)
        if len(places) != 1:
            raise ValueError(f"the page has {len(places)} places for the table {name!r}, not one")
        page = page.replace(places[0], f"<!-- table {name} -->\n{text}\n<!-- end -->")
    return page


def tables(cells: Sequence[Cell], runs: int) -> dict[str, str]:
    """Every table of the page on the families that were known while the judge was tuned, by name."""
    errors = _of_errors(cells)
    return {
        "runs": f"{runs} runs in each cell.",
        "tuned on": summary([c for c in errors if c.family.group == "tuned on"]),
        "looked at": summary([c for c in errors if c.family.group == "looked at"]),
        **_details(cells),
    }


def held_out(cells: Sequence[Cell], runs: int) -> dict[str, str]:
    """The same tables on the families that were not, by name."""
    band = [c for c in cells if c.family.truth == "band"]
    made = {
        "runs": f"{runs} runs in each cell.",
        "summary": summary(_of_errors(cells)),
        **_details(cells),
        "band": healthy(band),
    }
    return {f"held out, {name}": text for name, text in made.items()}


def _of_errors(cells: Sequence[Cell]) -> list[Cell]:
    """Those that every rule can see: not latency, not memory."""
    return [c for c in cells if not c.family.timed and c.family.oom_at_s is None]


def _details(cells: Sequence[Cell]) -> dict[str, str]:
    errors = _of_errors(cells)
    return {
        "healthy": healthy([c for c in cells if c.family.truth == "healthy"]),
        "delay": delays([c for c in errors if c.family.truth == "bad" and c.rate >= 2]),
        "better": better([c for c in errors if c.family.truth == "bad"]),
        "shared": shared([c for c in cells if c.family.truth in ("shared", "bad") and c.rule == "ours"]),
        "other": other([c for c in cells if c not in errors and c.family.truth == "bad"]),
    }


def _rules(cells: Iterable[Cell]) -> list[str]:
    return list(dict.fromkeys(c.rule for c in cells))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _spread(shares: Sequence[float]) -> str:
    return f"{_percent(mean(shares))} / {_percent(max(shares))}" if shares else "–"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def summary(cells: Sequence[Cell]) -> str:
    """One row for each rule: mean and worst cell, in percent."""
    rows = []
    for rule in _rules(cells):
        mine = [c for c in cells if c.rule == rule]
        good = [c for c in mine if c.family.truth == "healthy"]
        bad = [c for c in mine if c.family.truth == "bad"]
        rows.append(
            [
                rule,
                _spread([c.rolled_back for c in good if not c.family.clustered]),
                _spread([c.rolled_back for c in good if c.family.clustered]),
                _spread([c.promoted for c in good if c.rate >= 20]),
                _spread([c.rolled_back for c in mine if c.family.truth == "band"]),
                _spread([c.promoted for c in bad if c.rate >= 20]),
                _spread([c.promoted for c in bad if c.rate < 20]),
                _spread([c.rolled_back for c in bad if c.rate >= 20]).split(" / ")[0],
                _relative([c for c in cells if c.family.truth == "bad" and c.rate >= 20], rule),
            ]
        )
    return markdown(
        [
            "rule",
            "healthy rolled back, independent errors",
            "healthy rolled back, bursts",
            "healthy promoted, >= 20/s",
            "0.1-0.5 % rolled back",
            "bad promoted, >= 20/s",
            "bad promoted, <= 2/s",
            "bad rolled back, >= 20/s",
            "its delay / ours (median of cells)",
        ],
        rows,
    )


def _relative(cells: Sequence[Cell], rule: str) -> str:
    """A rule's median delay as a multiple of ours, over the cells where both roll back at least half of the time."""
    ours = {(c.family.name, c.rate): c for c in cells if c.rule == "ours"}
    ratios = [
        c.delay_s / mine.delay_s
        for c in cells
        if c.rule == rule and c.rolled_back >= 0.5 and c.delay_s
        for mine in [ours[c.family.name, c.rate]]
        if mine.rolled_back >= 0.5 and mine.delay_s
    ]
    return f"{median(ratios):.2f}" if ratios else "–"


def healthy(cells: Sequence[Cell]) -> str:
    """What ours says of each family, by rate: rolled back / promoted, in percent; the rest goes to a person."""
    mine = [c for c in cells if c.rule == "ours"]
    rates = sorted({c.rate for c in mine})
    rows = []
    for name in dict.fromkeys(c.family.name for c in mine):
        by_rate = {c.rate: c for c in mine if c.family.name == name}
        rows.append([name, *(f"{_percent(by_rate[r].rolled_back)} / {_percent(by_rate[r].promoted)}" for r in rates)])
    return markdown(["canary", *(f"{r:g}/s" for r in rates)], rows)


def prices_of(cells: Sequence[Cell], runs: int) -> str:
    """By family: rolled back / promoted at each rate, and rolled back at all rates together; for a shared cause, called
    so / rolled back."""
    rates = sorted({c.rate for c in cells})
    rows = []
    for name in dict.fromkeys(c.family.name for c in cells):
        mine = {c.rate: c for c in cells if c.family.name == name}
        shared_cause = mine[rates[0]].family.truth == "shared"
        said = [
            f"{_percent(c.shared)} / {_percent(c.rolled_back)}"
            if shared_cause
            else f"{_percent(c.rolled_back)} / {_percent(c.promoted)}"
            for c in (mine[rate] for rate in rates)
        ]
        rows.append([mine[rates[0]].family.truth, name, *said, _percent(mean(c.rolled_back for c in mine.values()))])
    good = [c for c in cells if c.family.truth == "healthy"]
    wrong = round(sum(c.rolled_back for c in good) * runs)
    total = f"{wrong} of {len(good) * runs:,} healthy canaries were rolled back; {_promoted(good)} were promoted."
    return f"{markdown(['truth', 'family', *(f'{r:g}/s' for r in rates), 'rolled back'], rows)}\n\n{total}"


def _promoted(cells: Sequence[Cell]) -> str:
    busy = [c.promoted for c in cells if c.rate >= 20]
    return f"{_percent(mean(busy))} % of those at 20 requests/s and more"


def delays(cells: Sequence[Cell]) -> str:
    """Seconds from the onset to the rollback: median / p95 (5xx served), and the share caught where it is not all."""
    rules = _rules(cells)
    rows = []
    for family in dict.fromkeys(c.family for c in cells):
        for rate in sorted({c.rate for c in cells}):
            by_rule = {c.rule: c for c in cells if c.family is family and c.rate == rate}
            rows.append([family.name, f"{rate:g}", *(_delay(by_rule[r]) for r in rules)])
    return markdown(["bad canary", "requests/s", *rules], rows)


def _delay(cell: Cell) -> str:
    if cell.delay_s is None:
        return "never"
    caught = "" if cell.rolled_back > 0.995 else f" {100 * cell.rolled_back:.0f} %"
    return f"{cell.delay_s:.0f}/{cell.delay_p95_s:.0f} ({cell.errors:.0f}){caught}"


def better(cells: Sequence[Cell]) -> str:
    """How often each rule is sooner than ours, as often, later; and how often it promotes what ours does not."""
    ours = {(c.family.name, c.rate): c for c in cells if c.rule == "ours"}
    rows = []
    for rule in _rules(cells):
        if rule == "ours":
            continue
        pairs = [(c, ours[c.family.name, c.rate]) for c in cells if c.rule == rule]
        both = [(c, o) for c, o in pairs if c.rolled_back >= 0.5 and o.rolled_back >= 0.5]
        sooner = [(c, o) for c, o in both if (c.delay_s or 0) < (o.delay_s or 0)]
        coordinator = max(sooner, key=lambda p: (p[1].delay_s or 0) - (p[0].delay_s or 0), default=None)
        widest = "–"
        if coordinator:
            theirs, mine = coordinator
            widest = f"{theirs.family.name} at {theirs.rate:g}/s: {theirs.delay_s:.0f} s, ours {mine.delay_s:.0f} s"
        rows.append(
            [
                rule,
                str(len(sooner)),
                str(sum(c.delay_s == o.delay_s for c, o in both)),
                str(sum((c.delay_s or 0) > (o.delay_s or 0) for c, o in both)),
                str(sum(c.rolled_back >= 0.5 > o.rolled_back for c, o in pairs)),
                str(sum(o.rolled_back >= 0.5 > c.rolled_back for c, o in pairs)),
                str(sum(c.promoted > o.promoted + 0.02 for c, o in pairs)),
                widest,
            ]
        )
    return markdown(
        [
            "rule",
            "sooner than ours",
            "equal",
            "later",
            "catches most where ours does not",
            "ours does, it does not",
            "promotes bad more often",
            "its widest lead",
        ],
        rows,
    )


def shared(cells: Sequence[Cell]) -> str:
    """How often a rollback is put down to a shared cause, by rate; for bad canaries, over all families."""
    rates = sorted({c.rate for c in cells})
    rows = []
    for name in dict.fromkeys(c.family.name for c in cells if c.family.truth == "shared"):
        mine = {c.rate: c for c in cells if c.family.name == name}
        rows.append([name, *(_tagged([mine[r]]) for r in rates)])
    bad = [c for c in cells if c.family.truth == "bad"]
    rows.append(["all bad canaries (should be 0)", *(_tagged([c for c in bad if c.rate == r]) for r in rates)])
    return markdown(["called shared, % of rollbacks", *(f"{r:g}/s" for r in rates)], rows)


def _tagged(cells: Sequence[Cell]) -> str:
    back = sum(c.rolled_back for c in cells)
    return _percent(sum(c.shared * c.rolled_back for c in cells) / back) if back else "no rollback"


def other(cells: Sequence[Cell]) -> str:
    """Latency and memory, which only ours looks at here: median / p95 seconds, and the share caught."""
    rates = sorted({c.rate for c in cells})
    rows = []
    for rule in _rules(cells):
        for name in dict.fromkeys(c.family.name for c in cells):
            mine = {c.rate: c for c in cells if c.family.name == name and c.rule == rule}
            if mine and rule.startswith("ours"):
                rows.append([f"{name} ({rule})", *(_delay(mine[r]) for r in rates)])
    return markdown(["bad canary", *(f"{r:g}/s" for r in rates)], rows)
