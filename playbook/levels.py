"""Where each test and each count of a canary stands: the parts that `playbook.evidence` is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Self

from playbook.alignment import Round
from playbook.policy import Policy
from playbook.sequential import Ceiling, Masses, Onset, Relative


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
    """Counts over a stretch of rounds. ``worst`` is the largest count of bad requests that may be a single burst."""

    n: float = 0.0
    x: float = 0.0
    worst: float = 0.0

    def plus(self, n: float, x: float, before: float) -> "Window":
        """With one more round; ``before``: bad ones of the round before that may belong to the same burst."""
        return Window(self.n + n, self.x + x, max(self.worst, before + x))

    @property
    def ratio(self) -> float:
        """Bad / all; 0 when there was none."""
        return self.x / self.n if self.n else 0.0

    def above(self, line: float, least: float) -> bool:
        """Whether the ratio is measured above ``line`` even without its worst burst, on ``least`` bad ones."""
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
            healthy=Ceiling.at(policy.error_ratio_investigate, phi, tilted=0.2),
            relative=Relative(policy.relative_max, phi),
            slow=Ceiling.at(policy.slow_ratio_max, phi),
        )


BLOCK = 3
"""Rounds in which canary and stable are compared together."""


@dataclass(frozen=True, slots=True)
class Block:
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
        return Block(
            rounds=self.rounds + 1,
            n=self.n + seen.n,
            x=self.x + seen.x,
            m=self.m + seen.m,
            y=self.y + seen.y,
            last_y=seen.y,
            share=self.share + share,
        )

    def next(self) -> "Block":
        """The block after this one: it begins with stable's last errors."""
        return Block(y=self.last_y)


@dataclass(frozen=True, slots=True)
class Latency:
    """What latency says since it counts: from ``settle_s`` after the shift, or after a scaling."""

    from_s: float
    onset: Onset
    slow: Level
    very_slow: Level
    very_slow_confirmed: float = 0.0  # peak of `very_slow` when the window last measured above the line
    measured: bool = False  # p95 literally above p95_rollback_s, latched
    bake: Window = field(default_factory=Window)  # requests with a latency, and those not surely faster than p95_max_s


@dataclass(frozen=True, slots=True)
class Saturation:
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


def worst_burst(bad: Sequence[float], bursty: bool) -> float:
    """The most bad requests that may be one burst: those of one scrape, or of two in a row where bursts are known."""
    if not bursty:
        return max(bad, default=0.0)
    return max((a + b for a, b in pairwise(bad)), default=sum(bad))


def window_of(requests: Sequence[float], bad: Sequence[float], bursty: bool) -> Window:
    """The counts of a stretch of rounds, one entry of each for a round."""
    x = sum(bad)
    return Window(sum(requests), x, worst_burst(bad, bursty) if x else 0.0)
