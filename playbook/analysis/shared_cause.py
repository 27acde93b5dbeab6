"""Whose fault it is: the canary's, or a cause that stable shares; and what the policy `hold` leaves to judge.

Under `hold` the rounds in which stable failed are set aside: they count neither for the canary nor against it. The
comparison with stable keeps them, because it looks at both sides. Canary and stable are scraped at other instants, so
what speaks against the canary counts once stable was seen for `SCRAPES` more.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

from playbook.analysis.evidence import Evidence
from playbook.analysis.levels import BLOCK, Window
from playbook.analysis.policy import Policy

REACH = 6  # rounds before and after one that are looked at with it: half a minute on each side at 5 s
SCRAPES = 3  # after so many rounds more, what stable had in a round is known


def is_shared(evidence: Evidence, policy: Policy) -> bool:
    """Whether stable's errors are above the limit now, by the rules that hold for the canary, and the canary was never
    worse."""
    if evidence.relative.peak >= 1 / policy.alpha_relative or not _is_above(evidence, policy):
        return False
    proven = evidence.stable_peak(evidence.tests.ceiling) >= 1 / policy.alpha_ceiling
    enough = evidence.recent.of("m", "y").x + evidence.stable_since.x >= evidence.least
    proven = proven or evidence.stable_lasting >= 1 / policy.alpha_healthy
    return proven or (enough and evidence.stable_peak(evidence.tests.healthy) >= 1 / policy.alpha_healthy)


def is_latency_shared(evidence: Evidence, policy: Policy) -> bool:
    """Whether stable's p95 is above p95_rollback_s, too."""
    line = policy.slow_ratio_max
    return evidence.recent.of("stable_timed", "stable_very_slow").above(line, evidence.least)


def _is_above(evidence: Evidence, policy: Policy) -> bool:
    """Whether stable is above the line now: over five minutes, or over its newest scrapes, as an outage of seconds is
    still small beside five good minutes."""
    since, line = evidence.stable_since, policy.error_ratio_max
    newest = evidence.recent._replace(rounds=evidence.recent.rounds[-BLOCK:])
    counts = (recent.of("m", "y") for recent in (evidence.recent, newest))
    long, short = (Window(seen.n + since.n, seen.x + since.x) for seen in counts)
    return long.ratio > line or (short.ratio > line and short.x >= evidence.least)


def without_shared(evidence: Evidence, policy: Policy) -> Evidence:
    """The evidence without the rounds in which stable failed; the same where it never did."""
    failing = _failing(evidence, policy)
    return evidence.without({index for index, fails in enumerate(failing) if fails}) if any(failing) else evidence


def fails_now(evidence: Evidence, policy: Policy) -> bool:
    """Whether stable fails in the newest round, or in what it reported since."""
    return any(_failing(evidence, policy)[-2:])


def settled(evidence: Evidence) -> Evidence:
    """The evidence without the newest rounds, of which it is not yet known whether stable failed, too."""
    return evidence.without(set(range(len(evidence.rounds) - SCRAPES, len(evidence.rounds))))


def _failing(evidence: Evidence, policy: Policy) -> list[bool]:
    """For each round, and for what stable reported since the last one: whether stable failed around it."""
    rounds, since = evidence.rounds, evidence.stable_since
    errors = ([one.m for one in rounds] + [since.n], [one.y for one in rounds] + [since.x])
    slow = ([one.stable_timed for one in rounds] + [0.0], [one.stable_very_slow for one in rounds] + [0.0])
    failed, slowed = (
        _around(*counts, line, evidence.least)
        for counts, line in ((errors, policy.error_ratio_max), (slow, policy.slow_ratio_max))
    )
    return [a or b for a, b in zip(failed, slowed, strict=True)]


def _around(requests: Sequence[float], bad: Sequence[float], line: float, least: float) -> list[bool]:
    """Whether the ratio is above ``line`` over the rounds around each, on at least ``least`` bad requests."""
    if math.fsum(bad) < least:
        return [False] * len(bad)
    all_n, all_x = ([0.0, *accumulate(counts)] for counts in (requests, bad))
    found = []
    for index in range(len(bad)):
        first, last = max(0, index - REACH), min(len(bad), index + REACH + 1)
        n, x = all_n[last] - all_n[first], all_x[last] - all_x[first]
        found.append(x >= least and x > line * n)
    return found
