"""Each signal of a canary with its number, its line and its evidence: the rows of the verdict card."""

import math
from dataclasses import dataclass

from playbook.analysis.evidence import Evidence
from playbook.analysis.levels import Window
from playbook.analysis.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalReading:
    """One signal at the moment of a verdict. ``evidence`` rolls back, scales or holds at ``evidence_needed``."""

    name: str
    slot: str  # of the query catalogue: requests, latency, cpu, memory, oom_kills; else the name of a signal
    requests: int | None = None
    bad: int | None = None
    ratio: float | None = None  # bad / requests, or a level between 0 and 1
    threshold: float | None = None  # the playbook's line for the ratio
    evidence: float | None = None  # highest e-value so far
    evidence_needed: float | None = None
    factor: float | None = None  # stable's odds of a bad one times this are the line
    is_minimum: bool = False  # the threshold is the least that is fine
    is_number: bool = False  # the ratio is a number of any unit
    query: str | None = None  # filled in where it is asked


def readings(evidence: Evidence, policy: Policy, services: int) -> tuple[SignalReading, ...]:
    """All signals, in the order in which the judge looks at them."""
    bake, stable, latency = evidence.bake, evidence.stable_bake, evidence.latency
    slow = evidence.recent.of("timed", "slow")
    very_slow, line = evidence.recent.of("timed", "very_slow"), policy.slow_ratio_max
    return (
        SignalReading(name="OOM kills", slot="oom_kills", bad=evidence.oom_kills, threshold=0),
        _counted("errors", bake, policy.error_ratio_max, evidence.ceiling.peak, services / policy.alpha_ceiling),
        _counted(
            "errors, against healthy",
            evidence.window,
            policy.error_ratio_investigate,
            max(evidence.healthy.peak, evidence.lasting.healthy.peak),
            services / policy.alpha_healthy,
        ),
        _counted("errors, against stable", stable, None, evidence.relative.peak, services / policy.alpha_relative),
        _counted(f"slower than {policy.p95_max_s:g} s", slow, line, latency.slow.peak, 1 / policy.alpha_latency),
        _counted(
            f"slower than {policy.p95_rollback_s:g} s",
            very_slow,
            line,
            latency.very_slow.peak,
            services / policy.alpha_latency,
        ),
        SignalReading(name="CPU", slot="cpu", ratio=_level(evidence.cpu.level), threshold=policy.cpu_max),
        SignalReading(name="memory", slot="memory", ratio=_level(evidence.memory.level), threshold=policy.memory_max),
    )


def _level(value: float) -> float | None:
    return None if math.isnan(value) else value


def _counted(name: str, seen: Window, line: float | None, peak: float, needed: float) -> SignalReading:
    return SignalReading(
        name=name,
        slot="requests" if name.startswith("errors") else "latency",
        requests=int(seen.n),
        bad=int(seen.x),
        ratio=seen.ratio if seen.n else None,
        threshold=line,
        evidence=peak,
        evidence_needed=needed,
    )
