"""The matrix: every call that a recorded run made, at every moment, and what became of it."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from cloud import Behaviour
from driver import Run, Stage, play
from faults import Fault
from invariants import broken, was_claimed
from scene import NEW, SERVICES
from wire import Call, Moment

from flows.recovery import recovery

Orders = Mapping[int, Moment | Fault]


@dataclass(frozen=True)
class Plot:
    """A release to be disturbed: how its backend behaves, and whether it would be promoted if nothing happened."""

    name: str
    backend: Behaviour
    is_good: bool


HEALTHY = Plot("healthy", Behaviour(), True)
BREACH = Plot("breach", Behaviour(errors=0.05), False)
BROKEN_START = Plot("broken start", Behaviour(starts=False), False)
PLOTS = (HEALTHY, BREACH, BROKEN_START)


@dataclass(frozen=True)
class Case:
    """One disturbance, and what came of it."""

    plot: str
    who: str
    call: Call
    moment: str
    outcome: str
    seconds: float
    """of virtual time, from the disturbance to the end of the last release or recovery"""
    wrong: tuple[str, ...]


def recorded(plot: Plot, orders: Orders | None = None) -> tuple[list[Call], list[Call]]:
    """The calls of a release, and those of the first recovery after it."""
    _, release, recoveries = play(lambda stage: _told(stage, plot, orders or {}, ()))
    return release.process.calls, recoveries[0].process.calls if recoveries else []


def disturbed(plot: Plot, orders: Orders, *recoveries: Orders, twice: bool = False) -> tuple[str, float, list[str]]:
    """How a release ends with these orders, and its recoveries with theirs: outcome, seconds, what is broken."""
    stage, release, _ = play(lambda stage: _told(stage, plot, orders, recoveries, twice=twice))
    wrong = broken(stage)
    served = set(stage.scene.versions_served().values())
    is_new = served == {NEW}
    if is_new and not plot.is_good:
        wrong.append("a bad release reached everybody")
    if plot.is_good and not is_new and was_claimed(stage, "production") and release.process.is_dead:
        wrong.append("a good release was not finished")
    return ("promoted" if is_new else "on stable" if len(served) == 1 else "split"), stage.ended_s, wrong


async def _told(
    stage: Stage, plot: Plot, orders: Orders, recoveries: Iterable[Orders], twice: bool = False
) -> tuple[Stage, Run, list[Run]]:
    stage.scene.publish(NEW, {SERVICES[1]: plot.backend})
    release = await stage.release(orders=orders, changes="x")
    began_s = stage.scene.now()
    if twice:
        await stage.ended(*(stage.start(recovery, environment="production") for _ in range(2)))
    followers = await stage.recover(*recoveries)
    stage.ended_s = (followers[-1].ended_at_s if followers else began_s) - began_s
    await stage.catch_up()
    return stage, release, followers


def kills(plot: Plot, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """The release is killed at every call."""
    calls, _ = recorded(plot)
    for call in filter(only, calls):
        for moment in Moment:
            yield _case(plot, "release", call, moment, {call.n: moment})


def kills_of_recovery(plot: Plot, first: Orders, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """The release was killed once already; now its recovery is killed at every call."""
    _, calls = recorded(plot, first)
    for call in filter(only, calls):
        for moment in Moment:
            yield _case(plot, "recovery", call, moment, first, {call.n: moment})


def _case(plot: Plot, who: str, call: Call, moment: Moment | Fault, *orders: Orders) -> Case:
    outcome, seconds, wrong = disturbed(plot, *orders)
    return Case(plot.name, who, call, moment.value, outcome, seconds, tuple(wrong))


def timed(cases: Iterable[Case]) -> Iterator[tuple[Case, float]]:
    """Each case with the seconds that it really took."""
    began = time.perf_counter()
    for case in cases:
        yield case, time.perf_counter() - began
        began = time.perf_counter()


def faults(plot: Plot, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """Each call of the release meets each fault once, and the most common one three times in a row.

    Only opening the environments is left out: a server that does not know them then ends the run before it has begun.
    """
    calls, _ = recorded(plot)
    for call in (call for call in calls if call.method != "block" and only(call)):
        for fault in Fault:
            yield _fault_case(plot, call, fault, {call.n: fault})
        yield _fault_case(plot, call, "UNAVAILABLE x3", dict.fromkeys(range(call.n, call.n + 3), Fault.UNAVAILABLE))


def _fault_case(plot: Plot, call: Call, what: str, orders: Orders) -> Case:
    outcome, seconds, wrong = disturbed(plot, orders)
    return Case(plot.name, "release", call, str(what), outcome, seconds, tuple(wrong))
