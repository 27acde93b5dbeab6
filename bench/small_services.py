"""How often a release of a small service needs a person: `python -m bench.small_services` fills docs/small-services.md.

Each run is a whole release as the policy has it: the forecast from two simulated hours of traffic, the share and the
bake that it chooses, the real judge on simulated scrapes, and the policy's steps at the end. A fault begins at a random
time in the first five minutes. Seeds are `SEED` and what is measured.
"""

import argparse
import functools
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.forecast import RATES as FORECAST_RATES
from bench.forecast import table as forecast_table
from bench.simulator import Ints, past
from bench.tables import fill, markdown
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.forecast import Forecast, Traffic, forecast
from playbook.analysis.low_traffic import due, promoted
from playbook.analysis.policy import EVERY_SERVICE, LowTraffic, Policy
from playbook.analysis.verdict import Action, Verdict, judge, severest_first

SEED = 20261126
RATES = (0.2, 0.5, 2.0, 7.0, 20.0, 200.0)
BESIDE_RATES = (0.2, 2.0, 20.0)
TARGETS = {0.2: 0.90, 2.0: 0.95, 20.0: 0.99}
"""Requests/s of the service -> the share of healthy releases that must need no person."""
HEALTHY = 1e-4
ONSET_MAX_S = 300.0
HOUR_S = 3600.0
PROBED_SHARE_OF_GATE = 0.5
PROBES_SPARE, PROBES_PER_S_MAX = 1.05, 100
"""As flows/canary.py and tasks/monitor.py have them."""
PROBES = (LowTraffic.PROBE, LowTraffic.PROMOTE)


@dataclass(frozen=True)
class Case:
    """One kind of release. ``ratio``: of errors, before the fault; ``fault``: after it, on one service."""

    name: str
    ratio: float = HEALTHY
    fault: float | None = None
    burst: float = 1.0
    services: int = 1
    steps: tuple[LowTraffic, ...] = (LowTraffic.PROMOTE,)

    @property
    def policy(self) -> Policy:
        """The playbook's, with these steps for a service with few requests."""
        return _policy(self.steps)

    @property
    def is_healthy(self) -> bool:
        """Whether it should be promoted."""
        return self.fault is None


@functools.cache
def _policy(steps: tuple[LowTraffic, ...]) -> Policy:
    return Policy(low_traffic={EVERY_SERVICE: steps})


MAIN = (Case("healthy, 0.01 %"), Case("fault of 5 %", fault=0.05))
BESIDE = (
    Case("healthy, 0.05 %", ratio=5e-4),
    Case("healthy, 0.1 %", ratio=1e-3),
    Case("healthy, 0.01 % in bursts of 5", burst=5),
    Case("healthy, 0.05 % in bursts of 5", ratio=5e-4, burst=5),
    Case("fault of 1 %", fault=0.01),
    Case("fault of 2 %", fault=0.02),
    Case("fault of 5 % in bursts of 5", fault=0.05, burst=5),
    Case("three services, healthy, 0.01 %", services=3),
    Case("three services, one with a fault of 5 %", fault=0.05, services=3),
    Case("with probes: healthy, 0.01 %", steps=PROBES),
    Case("with probes: fault of 1 %", fault=0.01, steps=PROBES),
    Case("with probes: fault of 5 %", fault=0.05, steps=PROBES),
)


class Service:
    """One simulated service of a release: what it had, what its forecast says, what is scraped of its canary."""

    def __init__(self, rng: np.random.Generator, case: Case, rate: float, is_bad: bool) -> None:
        self.rng, self.case, self.rate = rng, case, rate
        self.fault = case.fault if is_bad and case.fault is not None else case.ratio
        self.onset_s = float(rng.uniform(0, ONSET_MAX_S))
        scrape_s = case.policy.scrape_s
        hour, week = (rng.poisson(rate * scrape_s, int(HOUR_S / scrape_s)) for _ in range(2))
        self.dispersion = past(hour, self._errors(hour, np.full(len(hour), case.ratio)), case.policy)
        self.traffic = Traffic(
            last_hour=hour.sum() / HOUR_S, last_week=week.sum() / HOUR_S, phi_hat=self.dispersion.phi_hat
        )
        self.requests: list[Ints] = []
        self.failed: list[Ints] = []
        self.stable: list[tuple[Ints, Ints]] = []
        self.seconds, self.percent = 0.0, 0

    def bake(self, percent: int, seconds: float, probes: int = 0) -> None:
        """Users, and ``probes`` of our own, for so long."""
        self.percent = percent
        scrape_s, rng = self.case.policy.scrape_s, self.rng
        ticks = round(seconds / scrape_s)
        ends_s = self.seconds + scrape_s * np.arange(1, ticks + 1)
        requests = rng.poisson(self.rate * percent / 100 * scrape_s, ticks)
        requests = requests + rng.multinomial(probes, np.full(ticks, 1 / ticks)) if probes else requests
        faulty = np.clip((ends_s - self.onset_s) / scrape_s, 0, 1)
        ratio = self.case.ratio + (self.fault - self.case.ratio) * faulty
        stable = rng.poisson(self.rate * (100 - percent) / 100 * scrape_s, ticks)
        self.requests.append(requests)
        self.failed.append(self._errors(requests, ratio))
        self.stable.append((stable, self._errors(stable, np.full(ticks, self.case.ratio))))
        self.seconds = float(ends_s[-1])

    def verdict(self, name: str, policy: Policy, services: int) -> Verdict:
        """What the judge says at the end. What rolls back at any time is latched, so one look shows it."""
        evidence = Evidence.start(
            service=name,
            canary="new",
            stable=("old",),
            bake_start_s=0.0,
            policy=policy,
            dispersion=self.dispersion,
            canary_percent=self.percent,
        )
        stable = [np.concatenate(part) for part in zip(*self.stable, strict=True)]
        canary = _samples("new", np.concatenate(self.requests), np.concatenate(self.failed), policy.scrape_s)
        look = Observation(self.seconds, canary, _samples("old", *stable, policy.scrape_s), oom_kills=0)
        return judge(evidence.observe(look), policy, services=services)

    def _errors(self, requests: Ints, ratio: "np.typing.NDArray[np.float64]") -> Ints:
        """5xx of each scrape; in bursts of ``burst`` on average, as far as a scrape has requests."""
        burst = self.case.burst
        if burst <= 1:
            return self.rng.binomial(requests, ratio)
        count = self.rng.poisson(requests * ratio / burst)
        more = self.rng.negative_binomial(np.maximum(count, 1), 1 / burst)
        return np.minimum(count + np.where(count > 0, more, 0), requests)


def _samples(name: str, requests: Ints, errors: Ints, scrape_s: float) -> RevisionSamples:
    """One instance's counters; every request is fast, and CPU and memory are well below their limits."""

    def series(counts: Ints, **labels: str) -> CounterSeries:
        total = [0.0, *map(float, counts.cumsum())]
        return CounterSeries({"instance": name, **labels}, tuple((k * scrape_s, one) for k, one in enumerate(total)))

    latency = tuple(series(requests, le=edge) for edge in ("2", "5", "+Inf"))
    level = (CounterSeries({"instance": name}, tuple((k * scrape_s, 0.4) for k in range(len(requests) + 1))),)
    requests_of = (series(requests - errors, status="200"), series(errors, status="500"))
    return RevisionSamples(requests=requests_of, latency=latency, cpu=level, memory=level)


def release(rng: np.random.Generator, case: Case, rate: float) -> tuple[Action, tuple[Forecast, ...]]:
    """How one release ends before a person is asked: PROMOTE, ROLLBACK, or INCONCLUSIVE (a person)."""
    services = {f"s{k}": Service(rng, case, rate, is_bad=k == 0) for k in range(case.services)}
    traffic = {name: one.traffic for name, one in services.items()}
    forecasts = forecast(traffic, case.policy, case.policy.canary_percent, case.policy.canary_percent_max)
    policy = case.policy.planned(forecasts[0].bake_s)
    for chosen in forecasts:
        services[chosen.service].bake(chosen.percent, policy.bake_s)
    verdicts = _judged(services, policy, ())
    if lacking := due(verdicts, policy, LowTraffic.PROBE):
        seconds = PROBED_SHARE_OF_GATE * policy.gate_deadline_s
        percents = {one.service: one.percent for one in forecasts}
        wanted = {one.service: one.missing or 0 for one in lacking}
        for name, one in services.items():
            probes = min(wanted.get(name, 0) * PROBES_SPARE, PROBES_PER_S_MAX * seconds)
            one.bake(percents[name], seconds, probes=int(np.ceil(probes)))
        verdicts = _judged(services, policy.extended(seconds), (LowTraffic.PROBE,))
    return verdicts[0].action, forecasts


def _judged(services: dict[str, Service], policy: Policy, taken: Sequence[LowTraffic]) -> tuple[Verdict, ...]:
    found = severest_first(one.verdict(name, policy, len(services)) for name, one in services.items())
    return promoted(found, policy, taken)


@dataclass(frozen=True)
class Cell:
    """One case at one rate: shares of the releases, 0-1, and what the forecast chose in most of them."""

    case: Case
    rate: float
    runs: int
    promoted: float
    rolled_back: float
    chosen: str

    @property
    def person(self) -> float:
        """The share that a person had to decide."""
        return max(0.0, 1 - self.promoted - self.rolled_back)


def measure(case: Case, rate: float, runs: int) -> Cell:
    """One cell."""
    rng = np.random.default_rng([SEED, *case.name.encode(), int(rate * 10)])
    ends: Counter[Action] = Counter()
    chosen: Counter[str] = Counter()
    for _ in range(runs):
        end, forecasts = release(rng, case, rate)
        ends[end] += 1
        chosen[f"{forecasts[0].percent} %, {forecasts[0].bake_s / 60:.0f} min"] += 1
    usual = chosen.most_common(1)[0][0]
    return Cell(case, rate, runs, ends[Action.PROMOTE] / runs, ends[Action.ROLLBACK] / runs, usual)


def main_table(cells: Sequence[Cell]) -> str:
    """What is required, and what was measured."""
    rows = []
    for cell in cells:
        target = TARGETS.get(cell.rate if cell.rate < 20 else 20.0)
        required = "–"
        if not cell.case.is_healthy:
            required = "promoted: at most 2 %"
        elif target is not None:
            required = f"promoted: at least {100 * target:.0f} %"
        rows.append([cell.case.name, f"{cell.rate:g}", cell.chosen, *_shares(cell), required, f"{cell.runs:,}"])
    head = ["canary", "requests/s", "mostly chosen", "promoted", "rolled back", "a person", "required", "releases"]
    return markdown(head, rows)


def beside_table(cells: Sequence[Cell], rates: Sequence[float]) -> str:
    """Promoted / rolled back / a person, in percent, for each case and rate."""
    by = {(cell.case.name, cell.rate): cell for cell in cells}
    names = dict.fromkeys(cell.case.name for cell in cells)
    rows = [[name, *(" / ".join(_shares(by[name, rate])) for rate in rates)] for name in names]
    return markdown(["canary", *(f"{rate:g}/s" for rate in rates)], rows)


def _shares(cell: Cell) -> list[str]:
    return [f"{100 * share:.1f}" for share in (cell.promoted, cell.rolled_back, cell.person)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and write the tables. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.small_services", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="releases in each cell of the main table")
    parser.add_argument("--beside", type=int, default=100, help="releases in each cell of the table beside it")
    parser.add_argument("--out", type=Path, default=Path("docs/small-services.md"), help="the page to write to")
    parser.add_argument("--only", default="", help="cases whose name contains this; prints the tables instead")
    options = parser.parse_args(arguments)
    began_s, cells = time.monotonic(), []
    for case in (*MAIN, *BESIDE):
        if options.only not in case.name:
            continue
        for rate in RATES if case in MAIN else BESIDE_RATES:
            cells.append(measure(case, rate, options.runs if case in MAIN else options.beside))
        print(f"{time.monotonic() - began_s:5.0f} s  {case.name}", flush=True)
    made = {
        "forecast": forecast_table(FORECAST_RATES, None, Policy()),
        "small services": main_table([cell for cell in cells if cell.case in MAIN]),
        "small services, beside": beside_table([cell for cell in cells if cell.case in BESIDE], BESIDE_RATES),
        "small services, runs": f"{options.beside} releases in each cell.",
    }
    if options.only:
        print("\n\n".join(made.values()))
    else:
        options.out.write_text(fill(options.out.read_text(), made))
        print(f"tables written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
