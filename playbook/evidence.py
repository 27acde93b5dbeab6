"""What is known of one canary so far: an immutable value that grows with every observation.

Fed one look at a time or the whole bake at once it ends in the same state, so a process that takes over a release
fetches everything since the bake's start and goes on with the same test. It never starts a test anew: that would
multiply the chance of a wrong verdict by the number of restarts.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

from playbook.alignment import Aligner, Round
from playbook.policy import Policy
from playbook.samples import CounterSeries, Dispersion, Observation, RevisionSamples, dispersion
from playbook.sequential import Ceiling, Masses, Onset, Relative

__all__ = [
    "CounterSeries",
    "Dispersion",
    "Evidence",
    "Level",
    "Observation",
    "RevisionSamples",
    "Round",
    "Window",
    "dispersion",
]


@dataclass(frozen=True, slots=True)
class Level:
    """Where one test stands: its masses, its e-value now, and the highest it ever was (what Ville's bound is about)."""

    masses: Masses
    value: float = 1.0
    peak: float = 1.0

    def at(self, masses: Masses, cash: float) -> "Level":
        """The level after a scrape."""
        value = sum(masses) + cash
        return Level(masses, value, value if value > self.peak else self.peak)


@dataclass(frozen=True, slots=True)
class Window:
    """Counts over a stretch of rounds. ``worst`` is the largest count of bad requests in one of them."""

    n: float = 0.0
    x: float = 0.0
    worst: float = 0.0

    @property
    def ratio(self) -> float:
        """Bad / all; 0 when there was none."""
        return self.x / self.n if self.n else 0.0

    def above(self, line: float, least: float) -> bool:
        """Whether the ratio is measured above ``line`` even without its worst scrape, on ``least`` bad ones."""
        return self.x >= least and self.x - self.worst > line * self.n


class Point(NamedTuple):
    """One round and what the tests made of it: what the picture on the verdict card is drawn from."""

    round: Round
    ceiling: float
    healthy: float
    relative: float


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of this canary, with everything worked out that stays the same over the bake."""

    ceiling: Ceiling
    healthy: Ceiling
    relative: Relative
    slow: Ceiling

    @classmethod
    def of(cls, policy: Policy, phi_hat: float) -> Self:
        """Tests that allow for twice the bursts that were seen, and at least for ``phi_floor``."""
        phi = max(policy.phi_floor, 2 * phi_hat)
        return cls(
            ceiling=Ceiling.at(policy.error_ratio_max, phi),
            healthy=Ceiling.at(policy.error_ratio_investigate, phi),
            relative=Relative(policy.relative_max, phi),
            slow=Ceiling.at(policy.slow_ratio_max, phi),
        )


@dataclass(frozen=True, slots=True)
class Latency:
    """What latency says since it counts: from ``settle_s`` after the shift, or after a scaling."""

    from_s: float
    onset: Onset
    slow: Level
    very_slow: Level
    slow_measured: bool = False  # the literal number, latched
    very_slow_measured: bool = False


@dataclass(frozen=True, slots=True)
class Saturation:
    """A leaky timer of one resource: seconds above its line, seconds below subtracted. ``held`` latches."""

    seconds: float = 0.0
    held: bool = False
    level: float = math.nan  # 0-1, the fullest instance in the last round that said so

    def after(self, level: float, line: float, dt_s: float, limit_s: float) -> "Saturation":
        """The timer after a round; one without a sample leaves it as it is."""
        if math.isnan(level):
            return self
        if level <= line and not self.seconds:
            return Saturation(0.0, self.held, level)
        seconds = max(0.0, self.seconds + (dt_s if level > line else -dt_s))
        return Saturation(seconds, self.held or seconds >= limit_s, level)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything folded so far about one canary. Make it with `start`, grow it with `observe`."""

    service: str
    canary: str
    stable: tuple[str, ...]
    policy: Policy
    dispersion: Dispersion
    bake_start_s: float
    now_s: float
    tests: Tests = field(repr=False)
    onset: Onset
    ceiling: Level
    healthy: Level
    relative: Level
    shared: Level  # the ceiling test, of stable
    latency: Latency
    aligner: Aligner = field(repr=False)
    points: tuple[Point, ...] = field(default=(), repr=False)
    window_from: int = 0  # index of the first point in the literal window
    window: Window = Window()  # the canary's requests and errors in the last literal_window_s
    bake: Window = Window()  # the same since the bake's start
    stable_bake: Window = Window()
    covered_s: float = 0.0  # seconds of the bake that were seen
    healthy_confirmed: float = 0.0  # peak of `healthy` when the window last measured above the ceiling
    relative_confirmed: float = 0.0
    literal: bool = False  # the playbook's bare number, latched
    cpu: Saturation = Saturation()
    memory: Saturation = Saturation()
    oom_kills: int | None = None
    scaled_at_s: float | None = None

    @classmethod
    def start(
        cls,
        *,
        service: str,
        canary: str,
        stable: tuple[str, ...],
        bake_start_s: float,
        policy: Policy,
        dispersion: Dispersion | None = None,
        phi_hat: float | None = None,
        scaled_at_s: float | None = None,
    ) -> Self:
        """Evidence of nothing yet. Samples up to ``bake_start_s`` (fetch two scrapes before it) are baselines.

        ``policy``: the one that judges later; only its bake may be longer then. ``dispersion``: of stable's errors
        before the canary (`playbook.samples.dispersion`), or ``phi_hat``, a known figure; neither: as without a past.
        ``scaled_at_s``: when the canary was scaled, for a process that takes over.
        """
        unknown = Dispersion(policy.phi_unknown, "default")
        found = dispersion or (unknown if phi_hat is None else Dispersion(phi_hat, "given"))
        tests = Tests.of(policy, found.phi_hat)
        blank = cls(
            service=service,
            canary=canary,
            stable=stable,
            policy=policy,
            dispersion=found,
            bake_start_s=bake_start_s,
            now_s=bake_start_s,
            tests=tests,
            onset=Onset(),
            ceiling=Level(tests.ceiling.nothing),
            healthy=Level(tests.healthy.nothing),
            relative=Level(tests.relative.nothing),
            shared=Level(tests.ceiling.nothing),
            latency=_latency_from(tests, bake_start_s + policy.settle_s),
            aligner=Aligner(bake_start_s, policy),
        )
        return blank if scaled_at_s is None else blank.after_scaling(scaled_at_s)

    def observe(self, observation: Observation) -> Self:
        """The evidence with what is new in this observation. Samples that were seen before change nothing."""
        aligner = self.aligner.copy()
        rounds = aligner.feed(observation)
        kills = [k for k in (self.oom_kills, observation.oom_kills) if k is not None]
        grown = replace(
            self,
            now_s=max(self.now_s, observation.now_s),
            aligner=aligner,
            oom_kills=max(kills, default=None),
        )
        for one in rounds:
            grown = grown._after(one)
        return grown

    def after_scaling(self, at_s: float) -> Self:
        """The evidence once the canary was given more instances: latency and saturation are looked at anew.

        Errors are not: more instances do not excuse them.
        """
        return replace(
            self,
            scaled_at_s=at_s,
            latency=_latency_from(self.tests, at_s + self.policy.settle_s),
            cpu=Saturation(),
            memory=Saturation(),
        )

    @property
    def age_s(self) -> float:
        """Seconds since the canary's last sample; since the bake's start when there was none. Never negative."""
        return max(0.0, self.now_s - max(self.bake_start_s, self.aligner.latest_s))

    @property
    def least(self) -> float:
        """How many bad requests a measured ratio needs: more where they come in bursts."""
        return self.policy.errors_min * max(1.0, self.dispersion.phi_hat / 2)

    def slow_window(self, *, very: bool = False, maybe: bool = False, stable: bool = False) -> Window:
        """Requests with a latency, and the slow ones, in the last ``literal_window_s`` as far as latency counts.

        ``very``: slower than ``p95_rollback_s`` instead of ``p95_max_s``. ``maybe``: not surely faster.
        """
        rounds = [p.round for p in self.points[self.window_from :] if p.round.at_s > self.latency.from_s]
        if stable:
            return _window((r.stable_timed, r.stable_very_slow if very else r.stable_slow) for r in rounds)
        return _window((r.timed, r.maybe_slow if maybe else r.very_slow if very else r.slow) for r in rounds)

    def _after(self, seen: Round) -> Self:
        """The evidence after one more round."""
        policy, tests = self.policy, self.tests
        share, onset = self.onset.spend(seen.dt_s, policy.horizon_s)
        n, x, m, y = seen.n, seen.x, seen.m, seen.y
        ceiling = self.ceiling.at(tests.ceiling.step(self.ceiling.masses, share, n, x), onset.cash)
        healthy = self.healthy.at(tests.healthy.step(self.healthy.masses, share, n, x), onset.cash)
        relative = self.relative.at(tests.relative.step(self.relative.masses, share, n, x, m, y), onset.cash)
        shared = self.shared.at(tests.ceiling.step(self.shared.masses, share, m, y), onset.cash)
        points = (*self.points, Point(seen, ceiling.value, healthy.value, relative.value))
        first, window = self._slide(points)
        measured = window.above(policy.error_ratio_max, self.least)
        bake, stable = self.bake, self.stable_bake
        grown = replace(
            self,
            onset=onset,
            ceiling=ceiling,
            healthy=healthy,
            relative=relative,
            shared=shared,
            points=points,
            window_from=first,
            window=window,
            bake=Window(bake.n + n, bake.x + x, max(bake.worst, x)),
            stable_bake=Window(stable.n + m, stable.x + y, max(stable.worst, y)),
            covered_s=self.covered_s + min(seen.dt_s, policy.freshness_s / 2),
            healthy_confirmed=healthy.peak if measured else self.healthy_confirmed,
            relative_confirmed=relative.peak if measured else self.relative_confirmed,
            literal=self.literal or self._literal(window, policy.error_ratio_max),
            cpu=self.cpu.after(seen.cpu, policy.cpu_max, seen.dt_s, policy.saturation_s),
            memory=self.memory.after(seen.memory, policy.memory_max, seen.dt_s, policy.saturation_s),
        )
        if seen.timed <= 0 or seen.at_s <= self.latency.from_s:
            return grown
        return replace(grown, latency=grown._latency_after(seen))

    def _slide(self, points: tuple[Point, ...]) -> tuple[int, Window]:
        """The literal window moved on to the newest of these points: its first index, and what it holds."""
        first, n, x = self.window_from, self.window.n, self.window.x
        since_s = points[-1].round.at_s - self.policy.literal_window_s
        while points[first].round.at_s <= since_s:
            n, x, first = n - points[first].round.n, x - points[first].round.x, first + 1
        n, x = n + points[-1].round.n, x + points[-1].round.x
        return first, Window(n, x, max(p.round.x for p in points[first:]) if x else 0.0)

    def _literal(self, window: Window, line: float) -> bool:
        """Whether the playbook's bare ratio is above its line, on enough requests for it to mean something."""
        enough = self.policy.literal_requests * self.dispersion.phi_hat
        return window.n >= enough and window.x >= self.policy.errors_min and window.ratio > line

    def _latency_after(self, seen: Round) -> Latency:
        """What latency says after this round, which is in ``points`` already."""
        past, test, line = self.latency, self.tests.slow, self.policy.slow_ratio_max
        share, onset = past.onset.spend(seen.dt_s, self.policy.horizon_s)
        return Latency(
            from_s=past.from_s,
            onset=onset,
            slow=past.slow.at(test.step(past.slow.masses, share, seen.timed, seen.slow), onset.cash),
            very_slow=past.very_slow.at(
                test.step(past.very_slow.masses, share, seen.timed, seen.very_slow), onset.cash
            ),
            slow_measured=past.slow_measured or (seen.slow > 0 and self._slow_measured(line, very=False)),
            very_slow_measured=past.very_slow_measured or (seen.very_slow > 0 and self._slow_measured(line, very=True)),
        )

    def _slow_measured(self, line: float, *, very: bool) -> bool:
        """Whether more than ``line`` of the requests are slow, on enough of them, even without the worst scrape."""
        window = self.slow_window(very=very)
        enough = self.policy.literal_requests * self.dispersion.phi_hat
        return window.n >= enough and window.above(line, self.least)


def _latency_from(tests: Tests, from_s: float) -> Latency:
    """Latency before it counts."""
    blank = Level(tests.slow.nothing)
    return Latency(from_s, Onset(), blank, blank)


def _window(pairs: Iterable[tuple[float, float]]) -> Window:
    """Sums of (all, bad) pairs, one of each scrape."""
    n = x = worst = 0.0
    for more, bad in pairs:
        n, x, worst = n + more, x + bad, max(worst, bad)
    return Window(n, x, worst)
