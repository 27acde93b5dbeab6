"""Where each signal of [[signals]] stands: its samples are folded, as the evidence folds those of the playbook's table.

Counts are kept in stretches of one scrape. A stretch of the canary is judged when the canary has reported past its end,
and a comparison with stable when both have: telemetry of one of them that is late makes nothing look better or worse.
What comes later still joins the stretch that is open then.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from playbook.analysis.alignment import Round
from playbook.analysis.increments import Increments
from playbook.analysis.levels import Block, Lasting, Level, Window, lasting_tests
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Observation, edge_of
from playbook.analysis.sequential import Ceiling, Onset, Relative, Shortfall
from playbook.analysis.signal_source import Batch, Labels, Source
from playbook.analysis.signals import EVERY_EDGE, Count, Gauge, Ratio, Share, Signal, Signals

_ALL = ""
"""The column of all requests; the others are the bad ones, or those within an edge."""
Column = str | float
GAP = 3
"""After so many stretches without samples of one side, the share is not looked at across them."""
NO_TIME = Onset()
BLOCKS = 5
"""A comparison with stable looks at so many blocks in literal_window_s: longer ones than those of errors, as it only
has to be known when the bake ends, and the edges of a long block weigh less."""
RATIOS = (1.5, 3.0, 10.0, 100.0)
START = (0.1, 0.1, 0.2, 0.15, 0.15, 0.15, 0.15)
"""How the initial 1 is spread over the three bets and the tilts of `RATIOS`."""
NO_SHARE = Level((0.0,) * 4)
"""Before the first comparison with the share of users."""
_Cell = tuple[bool, Column]
_Bin = dict[_Cell, float]


class Compared(NamedTuple):
    """One comparison: the tests of its limit and of its factor, and what was counted."""

    ceiling: Level
    relative: Level
    lasting: Lasting
    block: Block = Block()
    bake: Window = Window()  # the canary, since the bake's start
    stable: Window = Window()
    recent: tuple[Round, ...] = ()  # of both, in the last literal_window_s

    @property
    def lately(self) -> tuple[Window, Window]:
        """Canary and stable in the last minutes."""
        rounds = self.recent
        worst = max((one.x for one in rounds), default=0.0)
        return (
            Window(sum(one.n for one in rounds), sum(one.x for one in rounds), worst),
            Window(sum(one.m for one in rounds), sum(one.y for one in rounds)),
        )


@dataclass(slots=True)
class State:
    """Where one signal stands. ``is_seen``: the canary had a sample of it."""

    signal: Signal
    is_seen: bool = False
    bins: dict[int, _Bin] = field(default_factory=dict)
    next_own: int = 0
    next_pair: int = 0
    own: Onset = NO_TIME
    pair: Onset = NO_TIME
    compared: dict[Column, Compared] = field(default_factory=dict)
    columns: dict[Labels, tuple[Column, ...]] = field(default_factory=dict)
    share: Level = NO_SHARE
    recent: tuple[Round, ...] = ()  # of the share
    unpaired: int = 0  # stretches since one in which both had samples
    timers: dict[Labels, tuple[float, float, float]] = field(default_factory=dict)  # seconds beyond, last time, level
    is_held: bool = False
    events: float = 0.0  # of a count; of a share, the canary's requests

    def copy(self) -> "State":
        """One that can be fed without changing this one."""
        bins = {index: cells.copy() for index, cells in self.bins.items()}
        return replace(self, bins=bins, compared=self.compared.copy(), timers=self.timers.copy())

    @property
    def level(self) -> float | None:
        """The worst level of a gauge when last seen."""
        levels = [level for _, _, level in self.timers.values()]
        if not levels or not isinstance(self.signal, Gauge):
            return None
        return max(levels) if self.signal.limit is not None else min(levels)


@dataclass(slots=True)
class SignalStates:
    """All signals of one canary. Mutable for speed: `copy` before `feed` keeps the old one.

    ``canary_share``: of the users, 0-1; None where it is not known.
    """

    start_s: float
    policy: Policy
    canary_share: float | None
    states: list[State]
    sources: dict[str, Source]

    @classmethod
    def of(cls, start_s: float, policy: Policy, signals: Signals, canary_share: float | None) -> "SignalStates":
        """Signals of which nothing was seen yet."""
        queries = {query for one in signals for query in one.queries}
        return cls(
            start_s,
            policy,
            canary_share,
            [State(one) for one in signals],
            {query: Source(Increments(2 * policy.scrape_s)) for query in queries},
        )

    def copy(self) -> "SignalStates":
        """One that can be fed without changing this one."""
        return replace(
            self,
            states=[state.copy() for state in self.states],
            sources={query: source.copy() for query, source in self.sources.items()},
        )

    def after_scaling(self) -> "SignalStates":
        """The same once the canary was given more instances: what scales is looked at anew."""
        again = self.copy()
        again.states = [
            State(one.signal, next_own=one.next_own, next_pair=one.next_pair) if one.signal.breach == "scale" else one
            for one in again.states
        ]
        return again

    def feed(self, observation: Observation) -> None:
        """Take in what is new in this observation."""
        ahead_s = observation.now_s + self.policy.freshness_s
        for query, source in self.sources.items():
            new = source.new(observation.of(query), ahead_s)
            if not new:
                continue
            counted: list[Batch] | None = None
            for state in self.states:
                signal = state.signal
                if query not in signal.queries:
                    continue
                state.is_seen = state.is_seen or any(batch.is_canary for batch in new)
                if isinstance(signal, Gauge):
                    self._level(state, signal, new)
                elif isinstance(signal, Count) and signal.changes:
                    self._changes(state, new)
                else:
                    counted = source.grown(new) if counted is None else counted
                    self._count(state, query, counted)
        for state in self.states:
            if isinstance(state.signal, (Ratio, Share)):
                self._advance(state)

    def _level(self, state: State, signal: Gauge, new: list[Batch]) -> None:
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

    def _changes(self, state: State, new: list[Batch]) -> None:
        for at_s, labels, value in self._levels(new):
            before = state.timers.get(labels)
            if before is not None and before[2] != value and at_s > self.start_s:
                state.events += 1
            state.timers[labels] = 0.0, at_s, value

    @staticmethod
    def _levels(new: list[Batch]) -> Iterator[tuple[float, Labels, float]]:
        """The canary's samples, in time."""
        for batch in new:
            if batch.is_canary:
                for labels, value in zip(batch.labels, batch.values, strict=True):
                    yield batch.at_s, labels, value

    def _count(self, state: State, query: str, counted: list[Batch]) -> None:
        """File what counters grew by under the stretch and the column that it belongs to."""
        counted = [batch for batch in counted if batch.at_s > self.start_s]
        if isinstance(state.signal, Count):
            state.events += math.fsum(count for batch in counted if batch.is_canary for count in batch.values)
            return
        columns_of = self._columns(state, query, counted)
        for at_s, is_canary, labels, counts in counted:
            sums: dict[Column, float] = {}
            for one, count in zip(labels, counts, strict=True):
                for column in columns_of[one]:
                    sums[column] = sums.get(column, 0.0) + count
            index = math.ceil((at_s - self.start_s) / self.policy.scrape_s) - 1
            cells = state.bins.setdefault(max(index, state.next_own if is_canary else state.next_pair), {})
            for column, count in sums.items():
                cells[is_canary, column] = cells.get((is_canary, column), 0.0) + count

    def _columns(self, state: State, query: str, counted: list[Batch]) -> Mapping[Labels, tuple[Column, ...]]:
        """Where each series of this query counts."""
        if self._is_bad_alone(state, query):
            return dict.fromkeys((one for batch in counted for one in batch.labels), ("bad",))
        known = state.columns
        new = {one for batch in counted for one in batch.labels if one not in known}
        if new:
            state.columns = known | {labels: _columns_of(state.signal, dict(labels), self.policy) for labels in new}
        return state.columns

    @staticmethod
    def _is_bad_alone(state: State, query: str) -> bool:
        """Whether this query counts the bad ones alone."""
        signal = state.signal
        return isinstance(signal, Ratio) and bool(signal.bad) and query == signal.bad and query != signal.total

    def _advance(self, state: State) -> None:
        """Judge every stretch that is complete."""
        signal = state.signal
        query = signal.queries[0]
        latest_s = self.sources[query].latest_s
        canary_s, stable_s = latest_s.get(True, -math.inf), latest_s.get(False, -math.inf)
        own = self._complete(canary_s)
        pair = self._complete(min(canary_s, stable_s))
        if isinstance(signal, Ratio) and signal.limit is not None and own > state.next_own:
            for index in sorted(index for index in state.bins if state.next_own <= index < own):
                self._against_limit(state, signal, index)
        state.next_own = max(state.next_own, own)
        if not signal.of_stable:
            pair = own
        for index in range(min(state.bins, default=pair), pair):
            cells = state.bins.pop(index, None)
            if cells is None:
                continue
            if isinstance(signal, Share):
                self._against_share(state, index, cells)
            elif isinstance(signal, Ratio) and signal.factor is not None:
                self._against_stable(state, signal, index, cells)
        state.next_pair = max(state.next_pair, pair)

    def _complete(self, until_s: float) -> int:
        """How many stretches end at or before ``until_s``."""
        return 0 if until_s <= self.start_s else math.floor((until_s - self.start_s) / self.policy.scrape_s + 1e-9)

    def _against_limit(self, state: State, signal: Ratio, index: int) -> None:
        assert signal.limit is not None
        test = Ceiling.at(signal.limit, self.policy.phi_floor)
        share, state.own = state.own.spend(self._dt_s(state.own, index), self.policy.horizon_s)
        cells = state.bins[index]
        if self._is_settling(signal, index):
            return
        tests = lasting_tests(signal.limit, signal.limit, self.policy)
        for column, (n, x, m, y) in self._pairs(signal, cells, with_stable=False).items():
            before = state.compared.get(column) or _nothing(test)
            lasting = before.lasting.after(tests, self._stretch(index, n, x, m, y), self.policy, alone=False)
            level = before.ceiling.at(test.step(before.ceiling.masses, share, n, x), state.own.cash)
            found = before._replace(ceiling=level, lasting=lasting, bake=before.bake.plus(n, x, 0.0))
            if signal.factor is None:
                found = found._replace(recent=self._recent(before.recent, self._stretch(index, n, x)))
            state.compared[column] = found

    def _against_stable(self, state: State, signal: Ratio, index: int, cells: _Bin) -> None:
        assert signal.factor is not None
        test = Relative(signal.factor, self.policy.phi_floor, ratios=RATIOS, start=START)
        length = max(3, round(self.policy.literal_window_s / self.policy.scrape_s / BLOCKS))
        share, state.pair = state.pair.spend(self._dt_s(state.pair, index), self.policy.horizon_s)
        if self._is_settling(signal, index):
            return
        for column, (n, x, m, y) in self._pairs(signal, cells, with_stable=True).items():
            before = state.compared.get(column) or _nothing(None)
            masses, block = before.relative.masses or test.nothing, before.block
            if block.rounds == length:
                masses = test.step(masses, block.share, block.n, block.x, block.m, block.y + y)
                block = block.next()
            seen = self._stretch(index, n, x, m, y)
            block = block.plus(seen, share)
            state.compared[column] = before._replace(
                relative=before.relative.at(masses, state.pair.cash + block.share),
                block=block,
                bake=before.bake.plus(n, x, 0.0) if signal.limit is None else before.bake,
                stable=before.stable.plus(m, y, 0.0),
                recent=self._recent(before.recent, seen),
            )

    def _against_share(self, state: State, index: int, cells: _Bin) -> None:
        assert isinstance(state.signal, Share)
        if self.canary_share is None or self._end_s(index) <= self.start_s + self.policy.settle_s:
            return  # users are still being moved
        gap = index - state.unpaired
        if (True, _ALL) not in cells or (False, _ALL) not in cells:
            # One of the two was not seen: with the next stretch if that comes soon. After a gap neither counts: what a
            # process that started again meanwhile had answered is lost.
            if gap <= GAP:
                following = state.bins.setdefault(index + 1, {})
                for cell, count in cells.items():
                    following[cell] = following.get(cell, 0.0) + count
            return
        state.unpaired = index
        if gap > GAP:
            return
        test = Shortfall(state.signal.at_least * self.canary_share)
        share, state.pair = state.pair.spend(self._dt_s(state.pair, index), self.policy.horizon_s)
        n, m = cells.get((True, _ALL), 0.0), cells.get((False, _ALL), 0.0)
        state.share = state.share.at(test.step(state.share.masses, share, n, m), state.pair.cash)
        state.events += n
        state.recent = self._recent(state.recent, self._stretch(index, n, 0.0, m))

    def _pairs(
        self, signal: Ratio, cells: _Bin, *, with_stable: bool
    ) -> dict[Column, tuple[float, float, float, float]]:
        """Canary's requests and bad ones, stable's requests and bad ones, for each comparison of the signal."""
        n, m = cells.get((True, _ALL), 0.0), cells.get((False, _ALL), 0.0)
        if signal.above_s is None:
            return {"bad": (n, min(n, cells.get((True, "bad"), 0.0)), m, min(m, cells.get((False, "bad"), 0.0)))}
        edges_of = self.sources[signal.total].edges
        edges = edges_of.get(True, frozenset())
        if with_stable:  # where stable's histogram has other edges, only the common ones can be compared
            edges &= edges_of.get(False, frozenset())
        wanted = _wanted(signal, edges, self.policy)
        return {edge: (n, _above(cells, True, n, edge), m, _above(cells, False, m, edge)) for edge in wanted}

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

    def _recent(self, recent: tuple[Round, ...], seen: Round) -> tuple[Round, ...]:
        """With one more stretch; those before literal_window_s are forgotten."""
        since_s, gone = seen.at_s - self.policy.literal_window_s, 0
        while gone < len(recent) and recent[gone].at_s <= since_s:
            gone += 1
        return (*recent[gone:], seen)


def _columns_of(signal: Signal, labels: dict[str, str], policy: Policy) -> tuple[Column, ...]:
    """Where a series of a signal's total counts: among all, among the bad ones, or within an edge."""
    if isinstance(signal, Ratio) and signal.above_s is not None:
        edge = edge_of(labels)
        if edge is None:
            return ()
        top = policy.p95_max_s if signal.above_s == EVERY_EDGE else math.inf
        return (_ALL,) if math.isinf(edge) else (edge,) if edge <= top else ()
    if isinstance(signal, Ratio) and signal.bad_where:
        is_bad = all(re.fullmatch(pattern, labels.get(name, "")) for name, pattern in signal.bad_where.items())
        return (_ALL, "bad") if is_bad else (_ALL,)
    return (_ALL,)


def _wanted(signal: Ratio, edges: Iterable[float], policy: Policy) -> list[float]:
    """The edges that a signal looks at: each below p95_max_s, or the first that is not below above_s."""
    if signal.above_s == EVERY_EDGE:
        return sorted(edge for edge in edges if edge <= policy.p95_max_s)
    return sorted(edge for edge in edges if float(signal.above_s or 0.0) <= edge < math.inf)[:1]


def _above(cells: _Bin, is_canary: bool, total: float, edge: float) -> float:
    return min(total, max(0.0, total - cells.get((is_canary, edge), 0.0)))


def _nothing(test: Ceiling | None) -> Compared:
    return Compared(Level(test.nothing if test else ()), Level(()), Lasting.of())
