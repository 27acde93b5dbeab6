"""What is known of one canary so far: an immutable value that grows with every observation.

Fed one look at a time or the whole bake at once it ends in the same state, so a process that takes over a release
fetches everything since the bake's start and goes on with the same test. It never starts a test anew: that would
multiply the chance of a wrong verdict by the number of restarts.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from typing import Any, NamedTuple

from playbook.analysis.alignment import Aligner, Round
from playbook.analysis.counters import Sources, unshared
from playbook.analysis.levels import BLOCK, Block, Lasting, Latency, Level, Recent, Saturation, Tests, Window
from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries, Dispersion, Observation, RevisionSamples, dispersion
from playbook.analysis.sequential import Ceiling, Onset
from playbook.analysis.signal_states import SignalStates
from playbook.analysis.signals import DEFAULT_SIGNALS, Signals

__all__ = ["CounterSeries", "Dispersion", "Evidence", "Observation", "RevisionSamples", "dispersion"]


class LookFault(NamedTuple):
    """What was wrong with the telemetry of the canary, from when to when (unix seconds)."""

    text: str
    since_s: float
    until_s: float


class Evidence(NamedTuple):
    """Everything folded so far about one canary. Make it with `start`, grow it with `observe`: it makes another."""

    service: str
    canary: str
    stable: tuple[str, ...]
    policy: Policy
    dispersion: Dispersion
    bake_start_s: float
    now_s: float
    tests: Tests
    onset: Onset
    ceiling: Level
    healthy: Level
    relative: Level
    lasting: Lasting  # errors, where they are known to come alone
    latency: Latency
    recent: Recent  # the last literal_window_s
    sources: Sources
    aligner: Aligner
    signals: SignalStates  # those of [[signals]]
    rounds: tuple[Round, ...]
    strongest: tuple[float, ...]  # of the tests' e-values after each round
    window: Window  # the canary's requests and errors in the last literal_window_s
    bake: Window  # the same since the bake's start
    stable_bake: Window
    covered_s: float  # seconds of the bake that were seen
    healthy_confirmed: float  # peak of `healthy` when the window last measured above the ceiling
    literal: bool  # the playbook's bare number, latched
    block: Block = Block()  # what `relative` waits for
    relative_confirmed: float = 0.0
    cpu: Saturation = Saturation()
    memory: Saturation = Saturation()
    oom_kills: int | None = None
    scaled_at_s: float | None = None
    new_errors: tuple[str, ...] = ()  # error lines of the canary that stable does not have
    fault: LookFault | None = None  # of the telemetry, as far as it still matters
    set_aside_s: float = 0.0  # seconds of rounds that `without` left out

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
        signals: Signals = DEFAULT_SIGNALS,
        canary_percent: int | None = None,
    ) -> "Evidence":
        """Evidence of nothing yet. Samples up to ``bake_start_s`` (fetch two scrapes before it) are baselines.

        ``policy``: the one that judges later; only its bake may be longer then. ``dispersion``: of stable's errors
        before the canary (`samples.dispersion`), or ``phi_hat``, a known figure; neither: as without a past.
        ``scaled_at_s``: when the canary was scaled, for a process that takes over. ``signals``: what is looked at
        beside the playbook's table. ``canary_percent``: its share of the users; None: the policy's, 0: not known.
        """
        unknown = Dispersion(policy.phi_unknown, "default")
        found = dispersion or (unknown if phi_hat is None else Dispersion(max(1.0, phi_hat), "given"))
        percent = policy.canary_percent if canary_percent is None else canary_percent
        tests, from_s = Tests.of(policy, found.phi_hat), bake_start_s + policy.settle_s
        blank = cls(
            service=service,
            canary=canary,
            stable=stable,
            policy=policy,
            dispersion=found,
            bake_start_s=bake_start_s,
            now_s=bake_start_s,
            tests=tests,
            relative=Level(tests.relative.nothing),
            **_nothing(tests, policy, from_s, bursty=found.phi_hat >= 2),
            sources=Sources.start(
                [query for one in signals for query in one.queries],
                [query for one in signals if one.is_of_counters for query in one.queries],
                policy.scrape_s,
            ),
            aligner=Aligner(bake_start_s, policy),
            signals=SignalStates.of(bake_start_s, policy, signals, percent / 100 if percent else None),
        )
        return blank if scaled_at_s is None else blank.after_scaling(scaled_at_s)

    def observe(self, observation: Observation) -> "Evidence":
        """The evidence with what is new in this observation. Samples that were seen before change nothing."""
        if not math.isfinite(observation.now_s):  # a clock that is none: what was seen counts, and no time passes
            observation = replace(observation, now_s=self.now_s)
        sources, fed = self.sources.after(observation, observation.now_s + self.policy.freshness_s)
        aligner = unshared(self.aligner)
        rounds = aligner.feed(fed)
        kills = [k for k in (self.oom_kills, observation.oom_kills) if k is not None]
        grown = self
        for one in rounds[:-1]:
            grown = grown._after(one)
        more: dict[str, Any] = {
            "now_s": max(self.now_s, observation.now_s),
            "sources": sources,
            "aligner": aligner,
            "signals": self.signals.after(fed, sources),
            "oom_kills": max(kills, default=None),
            "new_errors": observation.new_errors or self.new_errors,
            "fault": self._fault_after(observation),
        }
        return grown._after(rounds[-1], **more) if rounds else grown._replace(**more)

    def _fault_after(self, observation: Observation) -> LookFault | None:
        """What is wrong with the telemetry, after this look. What a look reaches back over is made good by a sound one;
        what lasted longer than that has left a hole."""
        past, now_s = self.fault, observation.now_s
        if observation.faults:
            return LookFault(" ".join(observation.faults), past.since_s if past else now_s, now_s)
        is_sound = bool(observation.canary.requests) and past is not None
        return None if is_sound and past and past.until_s - past.since_s <= self.policy.freshness_s else past

    def after_scaling(self, at_s: float) -> "Evidence":
        """The evidence once the canary was given more instances: latency and saturation are looked at anew.

        Errors are not: more instances do not excuse them.
        """
        from_s = at_s + self.policy.warm_up_s
        return self._replace(
            scaled_at_s=at_s,
            signals=self.signals.after_scaling(),
            latency=_latency_from(self.tests, from_s),
            recent=self.recent._replace(latency_from_s=from_s),
            cpu=Saturation(),
            memory=Saturation(),
        )

    def without(self, left_out: Collection[int]) -> "Evidence":
        """The evidence as if the rounds of these numbers had not been. Comparisons with stable and levels stay: they
        look at both sides, or are not made of rounds."""
        tests, policy = self.tests, self.policy
        gone = [one for number, one in enumerate(self.rounds) if number in left_out]
        grown = self._replace(**_nothing(tests, policy, self.latency.from_s, self.bursty))
        for number, one in enumerate(self.rounds):
            grown = grown if number in left_out else grown._after(one)
        return grown._replace(
            relative=self.relative,
            relative_confirmed=self.relative_confirmed,
            block=self.block,
            cpu=self.cpu,
            memory=self.memory,
            signals=self.signals.without([(one.at_s - one.dt_s, one.at_s) for one in gone]),
            set_aside_s=math.fsum(one.dt_s for one in gone),
        )

    @property
    def age_s(self) -> float:
        """Seconds since the canary's last sample; since the bake's start when there was none. Never negative."""
        return max(0.0, self.now_s - max(self.bake_start_s, self.aligner.latest_s))

    @property
    def least(self) -> float:
        """How many bad requests a measured ratio needs: more where they come in bursts."""
        return self.policy.errors_min * max(1.0, self.dispersion.phi_hat / 2)

    @property
    def bursty(self) -> bool:
        """Whether errors are known to come in bursts, so that one may lie across two scrapes."""
        return self.recent.bursty

    @property
    def doubtful(self) -> Window:
        """What the canary's first instances had counted before their first scrape: users' requests, or ours from before
        the bake."""
        return Window(*self.aligner.doubtful)

    @property
    def stable_since(self) -> Window:
        """What stable has reported after the last round: a canary that users have left ends none any more."""
        return Window(self.aligner.open["m"], self.aligner.open["y"])

    def stable_peak(self, test: Ceiling) -> float:
        """The highest e-value that ``test`` ever had of stable; folded only where the canary or stable is blamed."""
        onset, level = Onset(), Level(test.nothing)
        for seen in self.rounds:
            share, onset = onset.spend(seen.dt_s, self.policy.horizon_s)
            level = level.at(test.step(level.masses, share, seen.m, seen.y), onset.cash)
        since = self.stable_since
        return level.at(test.step(level.masses, 0.0, since.n, since.x), onset.cash).peak

    @property
    def stable_lasting(self) -> float:
        """As `Lasting.confirmed`, of stable: what says at once that the canary fails says it of stable, too."""
        since, lasting = self.stable_since, Lasting.of()
        ends = Round(self.now_s, 0.0, m=since.n, y=since.x)
        for seen in (*self.rounds, ends) if self.dispersion.is_alone else ():
            own = Round(seen.at_s, seen.dt_s, seen.m, seen.y)
            lasting = lasting.after(self.tests.lasting, own, self.policy, alone=True)
        return lasting.confirmed

    def _after(self, seen: Round, **more: Any) -> "Evidence":
        """The evidence after one more round, with ``more`` fields set."""
        policy, tests = self.policy, self.tests
        share, onset = self.onset.spend(seen.dt_s, policy.horizon_s)
        n, x = seen.n, seen.x
        ceiling = self.ceiling.at(tests.ceiling.step(self.ceiling.masses, share, n, x), onset.cash)
        healthy = self.healthy.at(tests.healthy.step(self.healthy.masses, share, n, x), onset.cash)
        relative, block = self._compared(seen, share, onset.cash)
        alone = self.dispersion.is_alone
        lasting = self.lasting.after(tests.lasting, seen, policy, alone) if alone else self.lasting
        recent = self.recent.after(seen)
        window = recent.of("n", "x")
        measured = window.above(policy.error_ratio_max, self.least)
        before = self.rounds[-1] if self.rounds and self.bursty else Round(0.0, 0.0)
        latency = self.latency
        if seen.timed > 0 and seen.at_s > latency.from_s:
            latency = self._latency_after(seen, before, recent)
        return self._replace(
            onset=onset,
            ceiling=ceiling,
            healthy=healthy,
            relative=relative,
            block=block,
            lasting=lasting,
            latency=latency,
            recent=recent,
            rounds=(*self.rounds, seen),
            strongest=(*self.strongest, max(ceiling.value, healthy.value, relative.value)),
            window=window,
            bake=self.bake.plus(n, x, before.x),
            stable_bake=self.stable_bake.plus(seen.m, seen.y, before.y),
            covered_s=self.covered_s + min(seen.dt_s, policy.freshness_s / 2),
            healthy_confirmed=max(healthy.peak if measured else self.healthy_confirmed, lasting.confirmed),
            relative_confirmed=relative.peak if measured else self.relative_confirmed,
            literal=self.literal or self._literal(window, seen.at_s),
            **self._saturation(seen),
            **more,
        )

    def _compared(self, seen: Round, share: float, cash: float) -> tuple[Level, Block]:
        """Where the comparison with stable stands after this round. A block counts once the round after it is seen."""
        masses, block = self.relative.masses, self.block
        if block.rounds == BLOCK:
            y = block.y + seen.y
            masses = self.tests.relative.step(masses, block.share, block.n, block.x, block.m, y)
            block = block.next()
        block = block.plus(seen, share)
        return self.relative.at(masses, cash + block.share), block

    def _saturation(self, seen: Round) -> dict[str, Any]:
        """CPU and memory after this round; what was before a scaling no longer counts."""
        if self.scaled_at_s is not None and seen.at_s <= self.scaled_at_s:
            return {}
        policy = self.policy
        return {
            "cpu": self.cpu.after(seen, seen.cpu, policy.cpu_max, policy),
            "memory": self.memory.after(seen, seen.memory, policy.memory_max, policy),
        }

    def _literal(self, window: Window, at_s: float) -> bool:
        """Whether the playbook's bare ratio is above its line, on requests enough. The worst burst is left out where
        bursts are known, and until the window is whole: it weighs too much beside few requests."""
        is_whole = at_s - self.bake_start_s >= self.policy.literal_window_s
        x = window.x if is_whole and not self.bursty else window.x - window.worst
        is_enough = self._enough(window) and window.x >= self.policy.errors_min
        return is_enough and x > self.policy.error_ratio_max * window.n

    def _enough(self, window: Window) -> bool:
        """Whether there are requests enough for a bare ratio to mean something."""
        return window.n >= self.policy.literal_requests * self.dispersion.phi_hat

    def _latency_after(self, seen: Round, before: Round, recent: Recent) -> Latency:
        """What latency says after this round, the last of the ``recent`` ones."""
        past, test, line = self.latency, self.tests.slow, self.policy.slow_ratio_max
        share, onset = past.onset.spend(seen.dt_s, self.policy.horizon_s)
        very_slow = past.very_slow.at(test.step(past.very_slow.masses, share, seen.timed, seen.very_slow), onset.cash)
        both = Round(seen.at_s, seen.dt_s, seen.timed, seen.very_slow, seen.stable_timed, seen.stable_slow)
        lasting = past.lasting.after(self.tests.lasting_slow, both, self.policy, alone=False)
        measured, confirmed = past.measured, max(past.very_slow_confirmed, lasting.confirmed)
        if seen.very_slow > 0:
            window = recent.of("timed", "very_slow")
            if window.above(line, self.least):
                measured, confirmed = measured or self._enough(window), max(confirmed, very_slow.peak)
        return Latency(
            from_s=past.from_s,
            onset=onset,
            slow=past.slow.at(test.step(past.slow.masses, share, seen.timed, seen.slow), onset.cash),
            very_slow=very_slow,
            lasting=lasting,
            very_slow_confirmed=confirmed,
            measured=measured,
            bake=past.bake.plus(seen.timed, seen.maybe_slow, before.maybe_slow),
        )


def _latency_from(tests: Tests, from_s: float) -> Latency:
    """Latency before it counts."""
    blank = Level(tests.slow.nothing)
    return Latency(from_s, Onset(), blank, blank, Lasting.of())


def _nothing(tests: Tests, policy: Policy, from_s: float, bursty: bool) -> dict[str, Any]:
    """What rounds are folded into, before the first. Latency counts ``from_s`` on."""
    return {
        "onset": Onset(),
        "ceiling": Level(tests.ceiling.nothing),
        "healthy": Level(tests.healthy.nothing),
        "lasting": Lasting.of(),
        "latency": _latency_from(tests, from_s),
        "recent": Recent(policy.literal_window_s, from_s, bursty),
        **dict.fromkeys(("rounds", "strongest"), ()),
        **dict.fromkeys(("window", "bake", "stable_bake"), Window()),
        "covered_s": 0.0,
        "healthy_confirmed": 0.0,
        "literal": False,
    }
