"""Where each test and each count of a canary stands: the parts that `playbook.analysis.evidence` is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple, Self

from playbook.analysis.alignment import LATENCY_COUNTS, Round
from playbook.analysis.policy import Policy
from playbook.analysis.samples import ALONE_MIN
from playbook.analysis.sequential import LASTING_TIMES, Ceiling, Masses, Onset, Relative


class Level(NamedTuple):
    """Where one test stands: its masses, its e-value now, and the highest it ever was (what Ville's bound is about)."""

    masses: Masses
    value: float = 1.0
    peak: float = 1.0

    def at(self, masses: Masses, cash: float) -> "Level":
        """The level after a scrape."""
        value = sum(masses) + cash
        return Level(masses, value, value if value > self.peak else self.peak)


class Window(NamedTuple):
    """Counts over a stretch of rounds. ``worst`` is the largest count of bad requests that may be a single burst."""

    n: float = 0.0
    x: float = 0.0
    worst: float = 0.0

    def plus(self, n: float, x: float, before: float) -> "Window":
        """With one more round; ``before``: bad ones of the round before that may belong to the same burst."""
        worst = before + x
        return Window(self.n + n, self.x + x, worst if worst > self.worst else self.worst)

    @property
    def ratio(self) -> float:
        """Bad / all; 0 when there was none."""
        return self.x / self.n if self.n else 0.0

    def above(self, line: float, least: float) -> bool:
        """Whether the ratio is measured above ``line`` even without its worst burst, on ``least`` bad ones."""
        return self.x >= least and self.x - self.worst > line * self.n


def lately(rounds: tuple[Round, ...], length_s: float) -> tuple[Round, ...]:
    """Those of the last ``length_s`` before the newest one."""
    since_s, gone = rounds[-1].at_s - length_s, 0
    while rounds[gone].at_s <= since_s:
        gone += 1
    return rounds[gone:]


def window(rounds: Sequence[Round], requests: str, bad: str, bursty: bool = False) -> Window:
    """Any two counts of these rounds, by their names. A burst lies within one round, or where they are ``bursty`` in
    two in a row."""
    n, found = sum(map(FIELD[requests], rounds)), list(map(FIELD[bad], rounds))
    pairs = [a + b for a, b in pairwise(found)] if bursty else []
    return Window(n, sum(found), max(pairs or found, default=0.0))


FIELD = {name: itemgetter(place) for place, name in enumerate(Round._fields)}


class Recent(NamedTuple):
    """The rounds of the last ``length_s``; those of latency as far as latency counts."""

    length_s: float
    latency_from_s: float
    bursty: bool  # whether one burst may lie across two rounds
    rounds: tuple[Round, ...] = ()

    def after(self, seen: Round) -> "Recent":
        """Moved on by one round."""
        return self._replace(rounds=lately((*self.rounds, seen), self.length_s))

    def of(self, requests: str, bad: str) -> Window:
        """Any two counts of `Round`, by their names."""
        rounds = self.rounds
        if bad in LATENCY_COUNTS and rounds and rounds[0].at_s <= self.latency_from_s:
            rounds = tuple([one for one in rounds if one.at_s > self.latency_from_s])
        return window(rounds, requests, bad, self.bursty)


@dataclass(frozen=True, slots=True)
class Tests:
    """The tests of this canary, with everything worked out that stays the same over the bake."""

    ceiling: Ceiling
    healthy: Ceiling
    relative: Relative
    slow: Ceiling
    lasting: tuple[Ceiling, Ceiling]
    lasting_slow: tuple[Ceiling, Ceiling]

    @classmethod
    def of(cls, policy: Policy, phi_hat: float) -> Self:
        """Tests that allow for twice the bursts that were seen, and at least for ``phi_floor``."""
        phi = max(policy.phi_floor, 2 * phi_hat)
        return cls(
            ceiling=Ceiling.at(policy.error_ratio_max, phi),
            healthy=Ceiling.at(policy.error_ratio_investigate, phi, tilted=0.2),
            relative=Relative(policy.relative_max, phi),
            slow=Ceiling.at(policy.slow_ratio_max, phi),
            lasting=lasting_tests(policy.error_ratio_investigate, policy.error_ratio_max, policy),
            lasting_slow=lasting_tests(policy.slow_ratio_max, policy.slow_ratio_max, policy),
        )


class Falls(NamedTuple):
    """Whether bad requests come in bursts, told by how they end: a burst ends, a fault that lasts does not.

    Of two scrapes in a row with bad requests, the later one has fewer in half of the pairs, and how many fewer squared
    is half of what independent ones differ by: 1/2 a pair on average. Bursts make it more; a rise counts for nothing.
    """

    n: float = 0.0  # of the last scrape
    x: float = 0.0
    bad: float = 0.0  # in all
    pairs: int = 0
    excess: float = 0.0

    def after(self, n: float, x: float) -> "Falls":
        """After a scrape with ``n`` requests, ``x`` of them bad."""
        both = self.x + x
        if both <= 0 or n <= 0 or self.n <= 0:  # nothing to compare, or a counter below zero
            return Falls(n or self.n, x, self.bad + x, self.pairs, self.excess)
        share = self.n / (self.n + n)
        fell = max(0.0, self.x - share * both)
        return Falls(n, x, self.bad + x, self.pairs + 1, self.excess + fell * fell / (both * share * (1 - share)))

    @property
    def are_bursts(self) -> bool:
        """Whether it is more than chance explains: by 3 and one and a half deviations."""
        return self.excess > self.pairs / 2 + 3 + 1.5 * math.sqrt(self.pairs)

    @property
    def are_alone(self) -> bool:
        """Whether enough bad requests were seen to say that they come alone."""
        return self.bad >= ALONE_MIN and not self.are_bursts


def lasting_tests(healthy: float, limit: float, policy: Policy) -> tuple[Ceiling, Ceiling]:
    """That a ratio is above what is ``healthy``, and above most of its ``limit``."""
    return Ceiling.alone(healthy), Ceiling.alone(limit * policy.lasting_part)


class Lasting(NamedTuple):
    """Whether a ratio is above its line and stays there, where bad requests come alone. See `Ceiling.alone`."""

    onset: Onset
    healthy: Level  # against what is healthy
    line: Level  # against most of the line
    canary: Falls = Falls()
    stable: Falls = Falls()
    confirmed: float = 0.0  # peak of `healthy` when `line` was last sure and no bursts were known

    @classmethod
    def of(cls) -> "Lasting":
        """Before the first scrape."""
        nothing = Level((0.0,) * len(LASTING_TIMES))
        return cls(Onset(first=0.005), nothing, nothing)

    def after(self, tests: tuple[Ceiling, Ceiling], seen: Round, policy: Policy, alone: bool) -> "Lasting":
        """After a round. ``alone``: it was known before the bake that bad requests come alone; else stable must have
        shown it in the bake, before this round. Until then nothing is bet."""
        n, x = seen.n, seen.x
        canary, stable = self.canary.after(n, x), self.stable.after(seen.m, seen.y)
        if not (alone or self.stable.are_alone):
            return Lasting(self.onset, self.healthy, self.line, canary, stable, self.confirmed)
        share, onset = self.onset.spend(seen.dt_s, policy.horizon_s)
        healthy = self.healthy.at(tests[0].step(self.healthy.masses, share, n, x), onset.cash)
        line = self.line.at(tests[1].step(self.line.masses, share, n, x), onset.cash)
        is_sure = line.value >= 1 / policy.alpha_lasting and not (canary.are_bursts or stable.are_bursts)
        return Lasting(onset, healthy, line, canary, stable, healthy.peak if is_sure else self.confirmed)


BLOCK = 3  # rounds in which canary and stable are compared together


class Block(NamedTuple):
    """The rounds that the comparison with stable still waits for.

    Canary and stable are scraped at other instants, so what hits both at once may fall into different rounds. Stable's
    errors of the round before and of the round after count against a block too, its requests do not: at least as many
    errors of stable as there were in the canary's own seconds. So the comparison errs on the canary's side, whatever
    the instants.
    """

    rounds: int = 0
    n: float = 0.0
    x: float = 0.0
    m: float = 0.0
    y: float = 0.0  # with those of the round before
    last_y: float = 0.0
    share: float = 0.0  # of the capital, that enters with this block

    def plus(self, seen: Round, share: float) -> "Block":
        """With one more round."""
        rounds, n, x, m, y, _, before = self
        return Block(rounds + 1, n + seen.n, x + seen.x, m + seen.m, y + seen.y, seen.y, before + share)

    def next(self) -> "Block":
        """The block after this one: it begins with stable's last errors."""
        return Block(y=self.last_y)


class Latency(NamedTuple):
    """What latency says since it counts: from ``settle_s`` after the shift, or after a scaling."""

    from_s: float
    onset: Onset
    slow: Level
    very_slow: Level
    lasting: Lasting  # very slow ones; stable's slow ones say whether they come alone
    very_slow_confirmed: float = 0.0  # peak of `very_slow` when the window last measured above the line
    measured: bool = False  # p95 literally above p95_rollback_s, latched
    bake: Window = Window()  # requests with a latency, and those not surely faster than p95_max_s


class Saturation(NamedTuple):
    """A leaky timer of one resource: seconds above its line, seconds below subtracted. ``held`` latches."""

    seconds: float = 0.0
    held: bool = False
    level: float = math.nan  # 0-1, the fullest instance when last seen
    at_s: float = -math.inf  # when that was: levels may come more rarely than requests

    def after(self, seen: Round, level: float, line: float, policy: Policy) -> "Saturation":
        """The timer after a round; one without a sample leaves it as it is."""
        if math.isnan(level):
            return self
        since_s = seen.at_s - seen.dt_s if math.isnan(self.level) else self.at_s
        dt_s = min(seen.at_s - since_s, policy.freshness_s)
        seconds = max(0.0, self.seconds + (dt_s if level > line else -dt_s))
        return Saturation(seconds, self.held or seconds >= policy.saturation_s, level, seen.at_s)
