"""Where each signal of [[signals]] stands: its samples are folded, as the evidence folds those of the playbook's table.

Counts are kept in stretches of one scrape. A stretch of the canary is judged when the canary has reported past its end,
and a comparison with stable when both have: telemetry of one of them that is late makes nothing look better or worse.
What comes later still joins the stretch that is open then.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from playbook.analysis.alignment import Round
from playbook.analysis.counters import Batch, Fed, Keys, Side, Sources, unshared
from playbook.analysis.levels import Block, Lasting, Level, Window, lasting_tests, lately, window
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Labels
from playbook.analysis.sequential import Ceiling, Onset, Relative, Shortfall
from playbook.analysis.signal_counts import ALL, Bin, Column, add, pairs
from playbook.analysis.signals import Breach, Count, Gauge, Ratio, Share, Signal, Signals

GAP = 3  # after so many stretches without samples of one side, the share is not looked at across them
NO_TIME = Onset()
BLOCKS = 5
"""A comparison with stable looks at so many blocks in literal_window_s: longer ones than those of errors, as it only
has to be known when the bake ends, and the edges of a long block weigh less."""
RATIOS = (1.5, 3.0, 10.0, 100.0)
START = (0.1, 0.1, 0.2, 0.15, 0.15, 0.15, 0.15)
"""How the initial 1 is spread over the three bets and the tilts of `RATIOS`."""
Part = tuple[bool, int, tuple[Keys, Sequence[float]]]  # of the canary or not, its stretch, and what counters grew by
NO_SHARE = Level((0.0,) * 4)  # before the first comparison with the share of users


class Compared(NamedTuple):
    """One comparison: the tests of its limit and of its factor, and what was counted."""

    ceiling: Level
    relative: Level
    lasting: Lasting
    block: Block = Block()
    bake: Window = Window()  # the canary, since the bake's start
    stable: Window = Window()
    recent: tuple[Round, ...] = ()  # of both, in the last literal_window_s
    own: Onset = NO_TIME  # of the limit
    past: tuple[tuple[float, Round], ...] = ()  # what the limit was asked of, each with its beginning

    @property
    def lately(self) -> tuple[Window, Window]:
        """Canary and stable in the last minutes."""
        return window(self.recent, "n", "x"), window(self.recent, "m", "y")


NOTHING = Compared(Level(()), Level(()), Lasting.of())  # before the first stretch


@dataclass
class State:
    """Where one signal stands. ``is_seen``: the canary had a sample of it."""

    signal: Signal
    is_seen: bool = False
    bins: dict[int, Bin] = field(default_factory=dict)
    next_own: int = 0
    next_pair: int = 0
    pair: Onset = NO_TIME
    compared: dict[Column, Compared] = field(default_factory=dict)
    share: Level = NO_SHARE
    recent: tuple[Round, ...] = ()  # of the share
    unpaired: int = 0  # stretches since one in which both had samples
    timers: dict[Labels, tuple[float, float, float]] = field(default_factory=dict)  # seconds beyond, last time, level
    is_held: bool = False
    events: float = 0.0  # of a count; of a share, the canary's requests

    @property
    def level(self) -> float | None:
        """The worst level of a gauge when last seen."""
        levels = [level for _, _, level in self.timers.values()]
        if not levels or not isinstance(self.signal, Gauge):
            return None
        return max(levels) if self.signal.limit is not None else min(levels)


@dataclass(frozen=True, slots=True)
class SignalStates:
    """All signals of one canary.

    ``canary_share``: of the users, 0-1; None where it is not known.
    """

    start_s: float
    policy: Policy
    canary_share: float | None
    states: list[State]

    @classmethod
    def of(cls, start_s: float, policy: Policy, signals: Signals, canary_share: float | None) -> "SignalStates":
        """Signals of which nothing was seen yet."""
        return cls(start_s, policy, canary_share, [State(one) for one in signals])

    def after_scaling(self) -> "SignalStates":
        """The same once the canary was given more instances: what scales is looked at anew."""
        return self._with(
            State(one.signal, next_own=one.next_own, next_pair=one.next_pair) if one.signal.breach == "scale" else one
            for one in self.states
        )

    def after(self, fed: Mapping[str, Fed], sources: Sources) -> "SignalStates":
        """The signals with what is new."""
        parts = {
            query: [(batch.is_canary, *part) for batch in new.grown for part in batch.parts(self._index).items()]
            for query, new in fed.items()
        }
        return self._with(
            one if fed.keys().isdisjoint(one.signal.queries) else self._after(unshared(one), fed, parts, sources)
            for one in self.states
        )

    def without(self, spans: Sequence[tuple[float, float]]) -> "SignalStates":
        """The signals as if nothing had been counted against their limits in these stretches of time (from, to), for
        those ratios whose breach is no hold. Comparisons with stable stay."""
        return self._with(self._without(state, spans) for state in self.states)

    def _without(self, state: State, spans: Sequence[tuple[float, float]]) -> State:
        signal = state.signal
        if not isinstance(signal, Ratio) or signal.limit is None or signal.breach is Breach.HOLD:
            return state
        compared = {}
        for column, one in state.compared.items():
            recent = () if signal.factor is None else one.recent
            left = NOTHING._replace(relative=one.relative, block=one.block, stable=one.stable, recent=recent)
            for since_s, seen in one.past:
                if all(seen.at_s <= first_s or last_s <= since_s for first_s, last_s in spans):
                    left = self._limited(left, signal, since_s, seen)
            compared[column] = left
        return replace(state, compared=compared)

    def _with(self, states: Iterable[State]) -> "SignalStates":
        return SignalStates(self.start_s, self.policy, self.canary_share, list(states))

    def _after(self, state: State, fed: Mapping[str, Fed], parts: Mapping[str, list[Part]], sources: Sources) -> State:
        signal = state.signal
        for query in signal.queries:
            if new := fed.get(query):
                state.is_seen = state.is_seen or any(batch.is_canary for batch in new.samples)
                if isinstance(signal, Gauge):
                    self._level(state, signal, new.samples)
                elif signal.is_of_counters:
                    self._count(state, query, parts[query])
                else:
                    self._changes(state, new.samples)
        if isinstance(signal, (Ratio, Share)):
            self._advance(state, sources.of[signal.total])
        return state

    def _level(self, state: State, signal: Gauge, new: Sequence[Batch]) -> None:
        """A leaky timer for each instance: seconds beyond the limit, those on its right side subtracted."""
        wanted_s = signal.for_s or self.policy.saturation_s
        for at_s, labels, value in self._levels(new):
            if at_s <= self.start_s:
                continue
            seconds, last_s, _ = state.timers.get(labels, (0.0, at_s - self.policy.scrape_s, 0.0))
            is_beyond = value > signal.limit if signal.limit is not None else value < (signal.at_least or 0.0)
            dt_s = min(at_s - max(last_s, self.start_s), self.policy.freshness_s)
            seconds = max(0.0, seconds + (dt_s if is_beyond else -dt_s))
            state.timers[labels] = seconds, at_s, value
            state.is_held |= seconds >= wanted_s

    def _changes(self, state: State, new: Sequence[Batch]) -> None:
        for at_s, labels, value in self._levels(new):
            before = state.timers.get(labels)
            if before is not None and before[2] != value and at_s > self.start_s:
                state.events += 1
            state.timers[labels] = 0.0, at_s, value

    @staticmethod
    def _levels(new: Sequence[Batch]) -> Iterator[tuple[float, Labels, float]]:
        """The canary's samples, those of a series in time."""
        for batch in new:
            if batch.is_canary:
                yield from zip(batch.at, batch.keys, batch.values, strict=True)

    def _count(self, state: State, query: str, parts: Iterable[Part]) -> None:
        """File what counters grew by under the stretch that it belongs to."""
        for is_canary, index, (keys, values) in parts:
            if index < 0:  # from before the bake
                continue
            if isinstance(state.signal, Count):
                state.events += sum(values) if is_canary else 0.0
                continue
            index = max(index, state.next_own if is_canary else state.next_pair)
            cells = state.bins[index] = state.bins.get(index, {}).copy()
            add(cells, is_canary, keys, values, state.signal, query, self.policy)

    def _index(self, at_s: float) -> int:
        """The stretch that an instant belongs to; below 0 before the bake."""
        return math.ceil((at_s - self.start_s) / self.policy.scrape_s) - 1

    def _advance(self, state: State, sides: tuple[Side, Side]) -> None:
        """Judge every stretch that is complete. ``sides``: stable and the canary."""
        signal = state.signal
        stable, canary = sides
        own = self._complete(canary.latest_s)
        pair = self._complete(min(canary.latest_s, stable.latest_s)) if signal.of_stable else own
        if isinstance(signal, Ratio) and signal.limit is not None:
            for index in sorted(index for index in state.bins if state.next_own <= index < own):
                self._against_limit(state, signal, index, sides)
        state.next_own = max(state.next_own, own)
        for index in range(min(state.bins, default=pair), pair) if isinstance(signal, Share) else ():
            if cells := state.bins.pop(index, None):
                self._against_share(state, index, cells)
        if isinstance(signal, Ratio) and signal.factor is not None:
            self._against_stable(state, signal, pair, sides)
        state.bins = {index: cells for index, cells in state.bins.items() if index >= pair}
        state.next_pair = max(state.next_pair, pair)

    def _complete(self, until_s: float) -> int:
        """How many stretches end at or before ``until_s``."""
        return 0 if until_s <= self.start_s else math.floor((until_s - self.start_s) / self.policy.scrape_s + 1e-9)

    def _against_limit(self, state: State, signal: Ratio, index: int, sides: tuple[Side, Side]) -> None:
        if self._is_settling(signal, index):
            return
        for column, counts in pairs(signal, state.bins[index], sides, self.policy, with_stable=False).items():
            before, seen = state.compared.get(column, NOTHING), self._stretch(index, *counts)
            since_s = seen.at_s - self._dt_s(before.own, index)
            state.compared[column] = self._limited(before, signal, since_s, seen)

    def _limited(self, before: Compared, signal: Ratio, since_s: float, seen: Round) -> Compared:
        """The comparison with the limit after a stretch that began at ``since_s``."""
        assert signal.limit is not None
        policy, test = self.policy, Ceiling.at(signal.limit, self.policy.phi_floor)
        ceiling, relative, lasting, block, bake, stable, recent, own, past = before
        share, own = own.spend(seen.at_s - since_s, policy.horizon_s)
        ceiling = ceiling.at(test.step(ceiling.masses or test.nothing, share, seen.n, seen.x), own.cash)
        lasting = lasting.after(lasting_tests(signal.limit, signal.limit, policy), seen, policy, alone=False)
        bake = bake.plus(seen.n, seen.x, 0.0)
        recent = lately((*recent, seen), policy.literal_window_s) if signal.factor is None else recent
        past = () if signal.breach is Breach.HOLD else (*past, (since_s, seen))
        return Compared(ceiling, relative, lasting, block, bake, stable, recent, own, past)

    def _against_stable(self, state: State, signal: Ratio, pair: int, sides: tuple[Side, Side]) -> None:
        """Compare each column over all stretches before ``pair`` in one go: a whole bake has hundreds of them."""
        assert signal.factor is not None
        policy = self.policy
        found: dict[Column, list[tuple[float, float, Round]]] = defaultdict(list)
        length = max(3, round(policy.literal_window_s / policy.scrape_s / BLOCKS))
        for index in sorted(index for index in state.bins if index < pair):
            share, state.pair = state.pair.spend(self._dt_s(state.pair, index), policy.horizon_s)
            if not self._is_settling(signal, index):
                end_s, cash = self._end_s(index), state.pair.cash
                for column, counts in pairs(signal, state.bins[index], sides, policy, with_stable=True).items():
                    found[column].append((share, cash, Round(end_s, policy.scrape_s, *counts)))
        for column, stretches in found.items():
            ceiling, relative, lasting, block, bake, stable, recent, own, past = state.compared.get(column, NOTHING)
            n, x, m, y = bake.n, bake.x, stable.n, stable.x
            for share, cash, seen in stretches:
                if block.rounds == length:  # until then what the block has is what its start had
                    test = Relative(signal.factor, policy.phi_floor, ratios=RATIOS, start=START)
                    masses = relative.masses or test.nothing
                    masses = test.step(masses, block.share, block.n, block.x, block.m, block.y + seen.y)
                    relative, block = relative.at(masses, cash + share), block.next()
                block = block.plus(seen, share)
                n, x, m, y = n + seen.n, x + seen.x, m + seen.m, y + seen.y
            bake, stable = Window(n, x) if signal.limit is None else bake, Window(m, y)
            recent = lately((*recent, *[seen for _, _, seen in stretches]), policy.literal_window_s)
            state.compared[column] = Compared(ceiling, relative, lasting, block, bake, stable, recent, own, past)

    def _against_share(self, state: State, index: int, cells: Bin) -> None:
        assert isinstance(state.signal, Share)
        if self.canary_share is None or self._end_s(index) <= self.start_s + self.policy.settle_s:
            return  # users are still being moved
        gap = index - state.unpaired
        if (True, ALL) not in cells or (False, ALL) not in cells:
            # One of the two was not seen: with the next stretch if that comes soon. After a gap neither counts: what a
            # process that started again meanwhile had answered is lost.
            if gap <= GAP:
                following = state.bins[index + 1] = state.bins.get(index + 1, {}).copy()
                for cell, count in cells.items():
                    following[cell] = following.get(cell, 0.0) + count
            return
        state.unpaired = index
        if gap > GAP:
            return
        test = Shortfall.of(state.signal.at_least * self.canary_share)
        share, state.pair = state.pair.spend(self._dt_s(state.pair, index), self.policy.horizon_s)
        n, m = cells.get((True, ALL), 0.0), cells.get((False, ALL), 0.0)
        state.share = state.share.at(test.step(state.share.masses, share, n, m), state.pair.cash)
        state.events += n
        state.recent = lately((*state.recent, self._stretch(index, n, 0.0, m)), self.policy.literal_window_s)

    def _stretch(self, index: int, n: float, x: float, m: float = 0.0, y: float = 0.0) -> Round:
        """What was counted in one."""
        return Round(self._end_s(index), self.policy.scrape_s, n, x, m, y)

    def _end_s(self, index: int) -> float:
        return self.start_s + (index + 1) * self.policy.scrape_s

    def _is_settling(self, signal: Ratio, index: int) -> bool:
        """Latency counts once new instances are warm, as in the playbook's table."""
        return signal.above_s is not None and self._end_s(index) <= self.start_s + self.policy.settle_s

    def _dt_s(self, onset: Onset, index: int) -> float:
        """Seconds since the last stretch that had anything in it."""
        return max(self.policy.scrape_s, (index + 1) * self.policy.scrape_s - onset.elapsed_s)
