"""What the judge says of saved traces, or of a past release that a live Prometheus still remembers.

python -m bench.replay TRACES.npz --out verdicts.json [--phi-hat X]
python -m bench.replay --prometheus URL --service S --canary R --stable R --start T --minutes 15 [--out verdict.json]
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from playbook.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.policy import Policy
from playbook.samples import Dispersion
from playbook.verdict import Action, Verdict, judge

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


def unix(text: str) -> float:
    """Unix seconds of a number or an ISO time; without a zone it is UTC."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is neither unix seconds nor an ISO time") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or print the verdicts. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.replay", description=__doc__)
    parser.add_argument("traces", nargs="?", type=Path, help="saved traces (.npz)")
    parser.add_argument(
        "--out", type=Path, help="where to write what was found (JSON); a past release is printed without it"
    )
    parser.add_argument(
        "--phi-hat", type=float, help="dispersion of errors; else 1 for saved traces, which have no past, or measured"
    )
    parser.add_argument("--prometheus", metavar="URL", help="replay a past release from there instead")
    parser.add_argument("--service", help="the service, as the job label says it")
    parser.add_argument("--canary", help="the canary's revision")
    parser.add_argument("--stable", help="the stable revision")
    parser.add_argument("--start", type=unix, help="when the canary's bake began: unix seconds, or an ISO time")
    parser.add_argument("--minutes", type=float, default=15.0, help="how long the bake was")
    parser.add_argument("--scrape-s", type=float, default=5.0, help="seconds between two scrapes there")
    options = parser.parse_args(arguments)
    if options.prometheus:
        return _past(options, parser)
    if options.traces is None or options.out is None:
        parser.error("say which TRACES.npz, and --out where the verdicts go; or --prometheus URL")
    try:
        verdicts = replay_file(options.traces, options.phi_hat or 1.0)
    except (OSError, KeyError, ValueError) as error:
        parser.error(f"{options.traces} cannot be read as saved traces: {error}")
    options.out.write_text(json.dumps(verdicts, indent=1) + "\n")
    print(f"{len(verdicts)} verdicts written to {options.out}")
    return 0


def _past(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    from bench.past import judge_past

    missing = [n for n in ("service", "canary", "stable", "start") if getattr(options, n) is None]
    if missing:
        parser.error(f"--prometheus also needs {', '.join(f'--{n}' for n in missing)}")
    try:
        found = json.dumps(judge_past(options), indent=2)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        parser.error(f"--prometheus {options.prometheus} does not answer as one: {error or type(error).__name__}")
    if options.out is None:
        print(found)
    else:
        options.out.write_text(found + "\n")
        print(f"1 verdict written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
