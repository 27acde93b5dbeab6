"""Saved traces: one bake each, as it was scraped, and the judge's final verdict on it.

A file of them (.npz) has ``tick_s``; ``counters`` int32 [N, 181, 24], sample k at k tick_s, cumulative over time, -1
where absent; and ``gauges`` float32 [N, 181, 3], the canary's CPU (0-1), memory (0-1) and kills for lack of memory
(cumulative), not a number where absent. Columns 0-11 of the counters are the canary's, 12-23 stable's: of each three by
status (2xx, 4xx, 5xx), and nine by latency, cumulative over the edges of `LES` (seconds).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Dispersion
from playbook.analysis.verdict import Action, Verdict, judge

STATUSES = ("2xx", "4xx", "5xx")
LES = ("0.05", "0.1", "0.25", "0.5", "1", "2", "5", "10", "+Inf")
LABELS = [{"status": status} for status in STATUSES] + [{"le": le} for le in LES]
FAST = [{"le": le} for le in ("2", "5", "+Inf")]


@dataclass(frozen=True)
class Replayed:
    """The final verdict on one trace. ``at_s`` is None when it came at the bake's end."""

    verdict: Action
    at_s: float | None
    reason: str
    attribution: str | None

    @classmethod
    def of(cls, verdict: Verdict, start_s: float, ends: bool) -> "Replayed":
        """What a verdict comes to when nobody answers a gate and no instance can be added to the past."""
        at_s = None if ends else round(verdict.at_s - start_s, 3)
        return cls(verdict.action, at_s, verdict.reason.value, verdict.attribution)


def observations(
    counters: NDArray[np.int32], gauges: NDArray[np.float32], tick_s: float, timed: bool = True
) -> Iterator[Observation]:
    """One trace as the judge would have seen it: an observation for each scrape.

    ``counters`` [181, 24], -1 where absent; ``gauges`` [181, 3], NaN where absent; a trace that says nothing of kills
    had none. ``timed``: with the trace's latency; without, every request is taken to be fast, which is less to fold.
    """
    width = 12 if timed else 3
    kills = 0
    for k, (row, (cpu, memory, oom)) in enumerate(zip(counters.tolist(), gauges.tolist(), strict=True)):
        now_s = k * tick_s
        kills = max(kills, int(oom)) if oom == oom else kills
        series = [
            CounterSeries(LABELS[i % 12], ((now_s, float(v)),)) if v >= 0 else None
            for i, v in enumerate(row)
            if i % 12 < width
        ]
        canary, stable = series[:width], series[width:]
        yield Observation(
            now_s=now_s,
            canary=RevisionSamples(
                requests=_present(canary[:3]),
                latency=_present(canary[3:]) if timed else _fast(now_s, row[:3]),
                cpu=_gauge(now_s, cpu),
                memory=_gauge(now_s, memory),
            ),
            stable=RevisionSamples(_present(stable[:3]), _present(stable[3:])),
            oom_kills=kills,
        )


def _fast(now_s: float, row: Sequence[int]) -> tuple[CounterSeries, ...]:
    """The buckets that the judge needs, of requests that are all faster than 2 s."""
    total = float(sum(max(count, 0) for count in row))
    return tuple(CounterSeries(labels, ((now_s, total),)) for labels in FAST) if max(row) >= 0 else ()


def _present(series: Sequence[CounterSeries | None]) -> tuple[CounterSeries, ...]:
    return tuple(one for one in series if one is not None)


def _gauge(now_s: float, value: float) -> tuple[CounterSeries, ...]:
    return () if value != value else (CounterSeries({}, ((now_s, value),)),)


def replay(evidence: Evidence, looks: Iterator[Observation], policy: Policy) -> tuple[Replayed, Verdict]:
    """Judge at every look until there is a final verdict.

    Nobody can add instances to the past: after SCALE the canary gets its second look, and is rolled back if it is as
    slow as before.
    """
    for look in looks:
        evidence = evidence.observe(look)
        verdict = judge(evidence, policy)
        if verdict.action is Action.SCALE:
            evidence = evidence.after_scaling(evidence.now_s)
            continue
        if verdict.action is not Action.CONTINUE:
            ends = evidence.now_s >= evidence.bake_start_s + policy.bake_s
            return Replayed.of(verdict, evidence.bake_start_s, ends), verdict
    # The trace ends before the bake: what is known then is all that will ever be.
    over = evidence.observe(Observation(now_s=evidence.bake_start_s + policy.bake_s))
    verdict = judge(over, policy)
    return Replayed.of(verdict, evidence.bake_start_s, True), verdict


def replay_trace(
    counters: NDArray[np.int32],
    gauges: NDArray[np.float32],
    tick_s: float,
    dispersion: Dispersion,
    policy: Policy | None = None,
    timed: bool = True,
) -> Replayed:
    """The final verdict on one saved trace."""
    policy = policy or Policy(scrape_s=tick_s, tick_s=tick_s)
    policy = policy.model_copy(update={"allow_unseen": ("cpu", "memory")})  # many traces do not have them
    evidence = Evidence.start(
        service="trace",
        canary="canary",
        stable=("stable",),
        bake_start_s=0.0,
        policy=policy,
        dispersion=dispersion,
    )
    return replay(evidence, observations(counters, gauges, tick_s, timed), policy)[0]


def replay_file(path: Path, phi_hat: float) -> list[dict[str, Any]]:
    """One entry for each trace of a file: {id, verdict, at_s, reason, attribution}."""
    with np.load(path) as saved:
        counters, gauges, tick_s = saved["counters"], saved["gauges"], float(saved["tick_s"])
    given = Dispersion(phi_hat, "given")
    found = []
    for index, (counts, levels) in enumerate(zip(counters, gauges, strict=True)):
        one = replay_trace(counts, levels, tick_s, given)
        found.append(
            {
                "id": index,
                "verdict": one.verdict.value,
                "at_s": one.at_s,
                "reason": one.reason,
                "attribution": one.attribution,
            }
        )
    return found
