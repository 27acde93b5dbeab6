"""What is counted for a signal of [[signals]] in one stretch of time: of the canary and of stable, in columns."""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Sequence

from playbook.analysis.counters import Keys, Side
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Labels
from playbook.analysis.signals import EVERY_EDGE, Ratio, Signal

ALL = ""  # the column of all requests; the others are the bad ones, or those within an edge
BAD = "bad"
Column = str | float
Bin = dict[tuple[bool, Column], float]  # whether it is the canary's, and the column -> the count


def add(
    cells: Bin, is_canary: bool, keys: Keys, values: Sequence[float], signal: Signal, query: str, policy: Policy
) -> None:
    """Count these values of the series of a query of the signal."""
    where: frozenset[tuple[str, str]] = frozenset()
    above_s = None
    if isinstance(signal, Ratio):
        if signal.bad and query == signal.bad and query != signal.total:  # these are the bad ones alone
            cells[is_canary, BAD] = cells.get((is_canary, BAD), 0.0) + sum(values)
            return
        where, above_s = frozenset(signal.bad_where.items()), signal.above_s
    for column, places in _columns(keys, where, above_s, policy.p95_max_s).items():
        count = sum(map(values.__getitem__, places))
        if count or (above_s is None and column == ALL):
            cells[is_canary, column] = cells.get((is_canary, column), 0.0) + count


@functools.lru_cache(maxsize=1024)
def _columns(
    keys: Keys, bad_where: frozenset[tuple[str, str]], above_s: float | str | None, p95_max_s: float
) -> dict[Column, list[int]]:
    """Which series of a signal's total count among all, among the bad ones, or within an edge."""
    found: dict[Column, list[int]] = defaultdict(list)
    top = p95_max_s if above_s == EVERY_EDGE else math.inf
    for place, key in enumerate(keys):
        if above_s is None:
            found[ALL].append(place)
            if bad_where and _is_bad(key, bad_where):
                found[BAD].append(place)
        elif key.edge is not None and not top < key.edge < math.inf:
            found[ALL if math.isinf(key.edge) else key.edge].append(place)
    return found


@functools.lru_cache(maxsize=1 << 16)
def _is_bad(key: Labels, bad_where: frozenset[tuple[str, str]]) -> bool:
    labels = dict(key)
    return all(re.fullmatch(pattern, labels.get(name, "")) for name, pattern in bad_where)


def pairs(
    signal: Ratio, cells: Bin, sides: tuple[Side, Side], policy: Policy, *, with_stable: bool
) -> dict[Column, tuple[float, float, float, float]]:
    """Canary's requests and bad ones, stable's requests and bad ones, for each comparison of the signal."""
    n, m = cells.get((True, ALL), 0.0), cells.get((False, ALL), 0.0)
    if signal.above_s is None:
        return {BAD: (n, min(n, cells.get((True, BAD), 0.0)), m, min(m, cells.get((False, BAD), 0.0)))}
    stable, canary = sides
    # Where stable's histogram has other edges, only the common ones can be compared.
    edges = canary.edges & stable.edges if with_stable else canary.edges
    found: dict[Column, tuple[float, float, float, float]] = {}
    for edge in _wanted(signal.above_s, edges, policy.p95_max_s):
        x, y = n - cells.get((True, edge), 0.0), m - cells.get((False, edge), 0.0)
        found[edge] = n, x if x > 0 else 0.0, m, y if y > 0 else 0.0
    return found


@functools.lru_cache(maxsize=1024)
def _wanted(above_s: float | str, edges: frozenset[float], p95_max_s: float) -> list[float]:
    """The edges that a signal looks at: each below p95_max_s, or the first that is not below above_s."""
    if isinstance(above_s, str):
        return sorted(edge for edge in edges if edge <= p95_max_s)
    return sorted(edge for edge in edges if above_s <= edge < math.inf)[:1]
