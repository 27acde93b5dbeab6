"""Each signal of a canary with its number, its line and its evidence: the rows of the verdict card."""

import math
from dataclasses import dataclass

from playbook.analysis.evidence import Evidence
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
    query: str | None = None  # filled in by whoever asked it


def readings(evidence: Evidence, policy: Policy, services: int) -> tuple[SignalReading, ...]:
    """All signals, in the order in which the judge looks at them."""
    bake, stable, latency = evidence.bake, evidence.stable_bake, evidence.latency
    slow = evidence.recent.of("timed", "slow")
    very_slow = evidence.recent.of("timed", "very_slow")
    return (
        SignalReading(name="OOM kills", slot="oom_kills", bad=evidence.oom_kills, threshold=0),
        SignalReading(
            name="errors",
            slot="requests",
            requests=int(bake.n),
            bad=int(bake.x),
            ratio=bake.ratio if bake.n else None,
            threshold=policy.error_ratio_max,
            evidence=evidence.ceiling.peak,
            evidence_needed=services / policy.alpha_ceiling,
        ),
        SignalReading(
            name="errors, against healthy",
            slot="requests",
            requests=int(evidence.window.n),
            bad=int(evidence.window.x),
            ratio=evidence.window.ratio if evidence.window.n else None,
            threshold=policy.error_ratio_investigate,
            evidence=evidence.healthy.peak,
            evidence_needed=services / policy.alpha_healthy,
        ),
        SignalReading(
            name="errors, against stable",
            slot="requests",
            requests=int(stable.n),
            bad=int(stable.x),
            ratio=stable.ratio if stable.n else None,
            evidence=evidence.relative.peak,
            evidence_needed=services / policy.alpha_relative,
        ),
        SignalReading(
            name=f"slower than {policy.p95_max_s:g} s",
            slot="latency",
            requests=int(slow.n),
            bad=int(slow.x),
            ratio=slow.ratio if slow.n else None,
            threshold=policy.slow_ratio_max,
            evidence=latency.slow.peak,
            evidence_needed=1 / policy.alpha_latency,
        ),
        SignalReading(
            name=f"slower than {policy.p95_rollback_s:g} s",
            slot="latency",
            requests=int(very_slow.n),
            bad=int(very_slow.x),
            ratio=very_slow.ratio if very_slow.n else None,
            threshold=policy.slow_ratio_max,
            evidence=latency.very_slow.peak,
            evidence_needed=services / policy.alpha_latency,
        ),
        SignalReading(name="CPU", slot="cpu", ratio=_level(evidence.cpu.level), threshold=policy.cpu_max),
        SignalReading(name="memory", slot="memory", ratio=_level(evidence.memory.level), threshold=policy.memory_max),
    )


def _level(value: float) -> float | None:
    return None if math.isnan(value) else value
