"""A bake in miniature: counts for each scrape in, evidence and verdicts out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Verdict, judge

START_S = 1_763_647_200.0


@dataclass(frozen=True)
class Tick:
    """What one scrape adds: requests and errors of canary (n, x) and stable (m, y), slow requests, levels."""

    n: int = 0
    x: int = 0
    m: int = 0
    y: int = 0
    slow: int = 0
    very_slow: int = 0
    stable_very_slow: int = 0
    cpu: float = 0.3
    memory: float = 0.3
    oom_kills: int = 0
    seen: bool = True


@dataclass
class Bake:
    """Ticks of one canary, told as observations. ``bounds``: the buckets of its histogram, in seconds."""

    policy: Policy = field(default_factory=Policy)
    phi_hat: float = 1.0
    bounds: tuple[float, ...] = (1.0, 2.0, 5.0)

    def evidence(self) -> Evidence:
        """Evidence of nothing yet."""
        return Evidence.start(
            service="backend",
            canary="backend-new",
            stable=("backend-old",),
            bake_start_s=START_S,
            policy=self.policy,
            phi_hat=self.phi_hat,
        )

    def looks(self, ticks: Iterable[Tick]) -> Iterator[Observation]:
        """The scrape at the bake's start, then one for each tick."""
        canary, stable, kills = [0] * 5, [0] * 5, 0
        for k, tick in enumerate([Tick(), *ticks]):
            now_s = START_S + k * self.policy.scrape_s
            new = (tick.n - tick.x, tick.x, tick.n, tick.n - tick.slow - tick.very_slow, tick.n - tick.very_slow)
            old = (tick.m - tick.y, tick.y, tick.m, tick.m - tick.stable_very_slow, tick.m - tick.stable_very_slow)
            canary = [a + b for a, b in zip(canary, new, strict=True)]
            stable = [a + b for a, b in zip(stable, old, strict=True)]
            kills += tick.oom_kills
            if not tick.seen:
                yield Observation(now_s, oom_kills=kills)
                continue
            yield Observation(
                now_s,
                self._revision(canary, now_s, tick),
                self._revision(stable, now_s, tick),
                kills,
            )

    def _revision(self, counts: Sequence[int], now_s: float, tick: Tick) -> RevisionSamples:
        good, bad, timed, within_2s, within_5s = counts

        def one(value: float, **labels: str) -> CounterSeries:
            return CounterSeries({"instance": "a", **labels}, ((now_s, value),))

        under = [within_5s if bound >= 5 else within_2s for bound in self.bounds]
        return RevisionSamples(
            requests=(one(good, status="200"), one(bad, status="503")),
            latency=(
                *(one(value, le=f"{bound:g}") for bound, value in zip(self.bounds, under, strict=True)),
                one(timed, le="+Inf"),
            ),
            cpu=(one(tick.cpu),),
            memory=(one(tick.memory),),
        )

    def folded(self, ticks: Iterable[Tick]) -> Evidence:
        """The evidence after all of them."""
        evidence = self.evidence()
        for look in self.looks(ticks):
            evidence = evidence.observe(look)
        return evidence

    def verdicts(self, ticks: Iterable[Tick], services: int = 1) -> Iterator[Verdict]:
        """What the judge says at every tick, until it has decided."""
        evidence = self.evidence()
        for look in self.looks(ticks):
            evidence = evidence.observe(look)
            verdict = judge(evidence, self.policy, services=services)
            yield verdict
            if verdict.action is not Action.CONTINUE:
                return

    def verdict(self, ticks: Iterable[Tick], services: int = 1) -> Verdict:
        """What it said last."""
        return list(self.verdicts(ticks, services))[-1]

    def at_s(self, verdict: Verdict) -> float:
        """Seconds from the bake's start to a verdict."""
        return verdict.at_s - START_S


@pytest.fixture(scope="session")
def bake() -> type[Bake]:
    """A maker of bakes."""
    return Bake


@pytest.fixture(scope="session")
def tick() -> type[Tick]:
    """A maker of ticks."""
    return Tick
