"""How other systems decide on the same traces: their rules on the error ratio, re-implemented from their sources.

Decision logic only, at the playbook's thresholds, in the form that is kindest to each: no provider errors, no delays
of their own telemetry. A rule sees counters [181, 24] and answers when it rolls back, or what it says at the end.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

Floats = NDArray[np.float64]
LIMIT = 0.005


@dataclass(frozen=True)
class Decision:
    """``verdict``: ROLLBACK, PROMOTE or INCONCLUSIVE; ``at_s``: when."""

    verdict: str
    at_s: float


class Counts:
    """Requests and errors of a revision, as the queries of the rules see them: increase over a window, gaps carried."""

    def __init__(self, columns: NDArray[np.int32], tick_s: float) -> None:
        self.tick_s = tick_s
        grown = np.zeros((len(columns), 3))
        last = [None if v < 0 else int(v) for v in columns[0]]
        self.seen = np.array([bool((row >= 0).any()) for row in columns])
        for k, row in enumerate(columns.tolist()[1:], start=1):
            for i, value in enumerate(row):
                if value < 0:
                    continue
                before = last[i]
                if before is not None:
                    grown[k, i] = value - before if value >= before else value
                last[i] = value
        self.n = grown.sum(axis=1).cumsum()
        self.x = grown[:, 2].cumsum()

    def over(self, at_s: float, window_s: float) -> tuple[float, float]:
        """Requests and errors in the window that ends at ``at_s``."""
        end, begin = int(at_s / self.tick_s), max(0, int((at_s - window_s) / self.tick_s))
        return float(self.n[end] - self.n[begin]), float(self.x[end] - self.x[begin])

    def ratio(self, at_s: float, window_s: float) -> float:
        """Errors / requests in the window; not a number where there were none, or nothing was scraped."""
        n, x = self.over(at_s, window_s)
        end, begin = int(at_s / self.tick_s), max(0, int((at_s - window_s) / self.tick_s))
        return x / n if n and self.seen[begin : end + 1].sum() >= 2 else math.nan


Rule = Callable[[Counts, Counts], Decision]
END_S = 900.0


def _looks(every_s: float) -> list[float]:
    return [every_s * k for k in range(1, int(END_S / every_s) + 1)]


def literal(canary: Counts, _: Counts) -> Decision:
    """The playbook's own rule, looked at every 30 s: 5xx ratio over 5 minutes above 0.5 %."""
    for at_s in _looks(30):
        if canary.ratio(at_s, 300) > LIMIT:
            return Decision("ROLLBACK", at_s)
    return Decision("PROMOTE", END_S)


def argo(failure_limit: int) -> Rule:
    """Argo Rollouts, every 60 s: fails when more than ``failure_limit`` measurements did. No data counts as success."""

    def rule(canary: Counts, _: Counts) -> Decision:
        failed = 0
        for at_s in _looks(60):
            failed += canary.ratio(at_s, 300) > LIMIT
            if failed > failure_limit:
                return Decision("ROLLBACK", at_s)
        return Decision("PROMOTE", END_S)

    return rule


def flagger(canary: Counts, _: Counts) -> Decision:
    """Flagger, every 60 s on one minute, threshold 5. No data is a failed check; it reverts one tick later."""
    failed = 0
    for at_s in _looks(60):
        if failed >= 5:
            return Decision("ROLLBACK", at_s)
        failed += not canary.ratio(at_s, 60) <= LIMIT
    return Decision("PROMOTE", END_S)


def release_manager(canary: Counts, _: Counts) -> Decision:
    """cloud-run-release-manager, every 60 s on ten minutes; at least 100 requests before it calls a canary healthy."""
    for at_s in _looks(60):
        if canary.ratio(at_s, 600) > LIMIT:
            return Decision("ROLLBACK", at_s)
    n, _x = canary.over(END_S, 600)
    return Decision("PROMOTE" if n >= 100 else "INCONCLUSIVE", END_S)


def _minutes(counts: Counts, first_s: float, last_s: float) -> Floats:
    """One value a minute; minutes without one are dropped."""
    values = [counts.ratio(at_s, 60) for at_s in _looks(60) if first_s < at_s <= last_s]
    return np.array([v for v in values if v == v])


def pipecd(canary: Counts, stable: Counts) -> Decision:
    """PipeCD against the primary, every 60 s: Mann-Whitney at 5 % on ten one-minute values, failureLimit 0."""
    for at_s in _looks(60)[1:]:
        ours, theirs = _minutes(canary, at_s - 600, at_s), _minutes(stable, at_s - 600, at_s)
        if not len(ours) and not len(theirs):
            continue
        if not len(ours) or not len(theirs):
            return Decision("ROLLBACK", at_s)
        if mannwhitneyu(ours, theirs, alternative="greater", method="asymptotic").pvalue <= 0.05:
            return Decision("ROLLBACK", at_s)
    return Decision("PROMOTE", END_S)


def kayenta(canary: Counts, stable: Counts) -> Decision:
    """Kayenta's judge on 15 one-minute values of each (fewer than it asks for), at the end: Wilcoxon shift, 98 %."""
    ours, theirs = _minutes(canary, 0, END_S), _minutes(stable, 0, END_S)
    if not len(ours) or not len(theirs):
        return Decision("ROLLBACK", END_S)  # half of the metrics or more without data: score 0
    together = np.concatenate([ours, theirs])
    if len(np.unique(together)) == 1 or np.array_equal(np.sort(ours), np.sort(theirs)):
        return Decision("PROMOTE", END_S)
    if len(np.unique(ours)) == 1 and len(np.unique(theirs)) == 1:
        noise = np.random.default_rng(0)
        ours = ours + noise.normal(0, 1e-5 * max(ours[0], 1e-12), len(ours))
        theirs = theirs + noise.normal(0, 1e-5 * max(theirs[0], 1e-12), len(theirs))
    low, middle = _shift(ours, theirs, NormalDist().inv_cdf(0.99)), _shift(ours, theirs, 0.0)
    return Decision("ROLLBACK" if low > 0.25 * abs(middle) else "PROMOTE", END_S)


def _shift(ours: Floats, theirs: Floats, z: float) -> float:
    """By how much ``ours`` is shifted up so that Wilcoxon's statistic is ``z`` deviations above its mean."""

    def deviations(mu: float) -> float:
        moved = ours - mu
        above = (moved[:, None] > theirs).sum() + 0.5 * (moved[:, None] == theirs).sum()
        n, m = len(moved), len(theirs)
        _, ties = np.unique(np.concatenate([moved, theirs]), return_counts=True)
        spread = n * m / 12 * (n + m + 1 - (ties**3 - ties).sum() / ((n + m) * (n + m - 1)))
        off = above - n * m / 2
        correction = 0.5 * float(np.sign(z)) if z else 0.0
        return float((off - correction) / math.sqrt(spread)) if spread > 0 else 0.0

    low, high = float(ours.min() - theirs.max()) - 1e-9, float(ours.max() - theirs.min()) + 1e-9
    if deviations(low) < z:
        return low
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if deviations(middle) > z else (low, middle)
    return (low + high) / 2


PEERS: dict[str, Rule] = {
    "literal rule": literal,
    "Argo, limit 0": argo(0),
    "Argo, limit 3": argo(3),
    "Flagger": flagger,
    "Kayenta": kayenta,
    "PipeCD": pipecd,
    "release-manager": release_manager,
}
