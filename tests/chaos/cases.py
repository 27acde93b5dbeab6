"""The matrix: every call of a run, every moment of a kill, and the outcome.

Of equal cases one is played. Others see of a process only what it changes, so to die after a read is to die before
the next call, and to die before it is to die before any later call that it reaches without a change. Two faults that
reach our code as the same error are one.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from driver import SILENCE_S, Orders, Run, TestEnvironment, play
from faults import Fault
from forks import Disturbance, Forks
from invariants import broken
from scenarios import ChaosScenario
from wire import Call, Moment, Process

from flows.recovery import recovery

ACTS = ("write", "update_many", "POST")
"""The calls that change traffic or data."""
ROUNDS_MAX = 20
"""Followers of a death that are killed in turn; no scenario has so many."""


@dataclass(frozen=True)
class Case:
    """One disturbance and its outcome."""

    scenario: str
    who: str
    call: Call
    moment: str
    outcome: str
    seconds: float
    """of virtual time, from the disturbance to the end of the last release or recovery"""
    wrong: tuple[str, ...]


def recorded(scenario: ChaosScenario, orders: Orders | None = None) -> tuple[list[Call], list[list[Call]]]:
    """The calls of the disturbed run, and those of each run after it."""
    _, run, followers = play(lambda test_env: _played(test_env, scenario, orders or {}, ()))
    return run.process.calls, [one.process.calls for one in followers]


def disturbed(
    scenario: ChaosScenario, orders: Orders, *followers: Orders, twice: bool = False
) -> tuple[str, float, list[str]]:
    """Run the scenario with these orders for its run and the runs after it. Returns outcome, seconds, violations."""
    test_env, run, _ = play(lambda test_env: _played(test_env, scenario, orders, followers, twice=twice))
    return scenario.outcome(test_env), test_env.ended_s, [*broken(test_env), *scenario.wrong(test_env, run)]


async def _played(
    test_env: TestEnvironment,
    scenario: ChaosScenario,
    orders: Orders,
    for_followers: Iterable[Orders],
    twice: bool = False,
    forks: Forks | None = None,
) -> tuple[TestEnvironment, Run, list[Run]]:
    test_env.orders += for_followers
    if forks:
        test_env.fixture.wire.faults.append(forks.ask)
    run = await scenario.begin(test_env, orders)
    began_s = test_env.fixture.now()
    if twice:
        await asyncio.sleep(SILENCE_S)
        await test_env.ended(*(test_env.start(recovery, environment="production") for _ in range(2)))
    followers = await scenario.follow(test_env, run)
    test_env.ended_s = (followers[-1].ended_at_s if followers else began_s) - began_s
    await test_env.ended(*test_env.runs)
    await test_env.catch_up()
    return test_env, run, followers


def kills(scenario: ChaosScenario, jobs: int = 1) -> Iterator[Case]:
    """Kill the run at every call."""
    return _each(scenario, {}, (), _Kills(), jobs)


def deaths(scenario: ChaosScenario) -> list[dict[int, Moment]]:
    """Kills at the first, the middle and the last change that the run makes."""
    acts = [call for call in recorded(scenario)[0] if call.method in ACTS and not call.subject.startswith("staging")]
    chosen = {call.n: Moment.APPLIED for call in (acts[0], acts[len(acts) // 2], acts[-1])}
    return [{n: moment} for n, moment in chosen.items()]


def kills_of_followers(scenario: ChaosScenario, first: Orders, jobs: int = 1) -> Iterator[Case]:
    """After a first kill, kill each run that follows at every call."""
    return _each(scenario, first, [{} for _ in range(ROUNDS_MAX)], _Kills(), jobs)


def faults(scenario: ChaosScenario, only: Callable[[Call], bool] = lambda call: True, jobs: int = 1) -> Iterator[Case]:
    """Each call of the release gets each fault once, and UNAVAILABLE three times in a row.

    Opening the environments is left out: a run that cannot open them ends before it has begun.
    """
    return _each(scenario, {}, (), lambda _, call: _faults(call) if call.method != "block" and only(call) else (), jobs)


class _Kills:
    """The moments at which to kill a process in one of its calls."""

    def __init__(self) -> None:
        self._killed: set[tuple[str, int]] = set()
        """the deaths that were played: the process, and how much it had changed"""

    def __call__(self, process: Process, call: Call) -> Iterable[Disturbance]:
        """Disturbances for this call."""
        death = process.name, process.changes
        is_new = death not in self._killed
        self._killed.add(death)
        return (*(KILLS[:1] if is_new else ()), *(() if call.only_reads else KILLS[1:]))


def _faults(call: Call) -> Iterable[Disturbance]:
    """Of the faults that have the same effect, the first; and UNAVAILABLE three times in a row."""
    effects: dict[object, Fault] = {}
    for fault in Fault:
        effects.setdefault(fault.effect(call), fault)
    return *(FAULTS[fault] for fault in effects.values()), THRICE


def _each(
    scenario: ChaosScenario,
    first: Orders,
    followers: Iterable[Orders],
    disturbances: Callable[[Process, Call], Iterable[Disturbance]],
    jobs: int,
) -> Iterator[Case]:
    """Each disturbance at each call of the run; or of those that follow it, where there are orders for them."""
    followers = list(followers)
    targets = followers or [first]

    def at(process: Process, call: Call) -> Iterable[Disturbance]:
        return disturbances(process, call) if any(process.orders is one for one in targets) else ()

    def whole() -> Case | None:
        test_env, run, after = play(lambda test_env: _played(test_env, scenario, first, followers, forks=forks))
        if not forks.taken:
            return None
        process, call, what = forks.taken
        who = "first" if process is run.process else f"next {[one.process for one in after].index(process) + 1}"
        wrong = (*broken(test_env), *scenario.wrong(test_env, run))
        return Case(scenario.name, who, call, what, scenario.outcome(test_env), test_env.ended_s, wrong)

    forks = Forks(at, jobs)
    return forks.results(whole)


def _unavailable_thrice(process: Process, call: Call) -> Fault:
    process.orders = {**process.orders, **dict.fromkeys(range(call.n, call.n + 3), Fault.UNAVAILABLE)}
    return Fault.UNAVAILABLE


KILLS = tuple(Disturbance(moment.value, lambda process, call, moment=moment: moment) for moment in Moment)
FAULTS = {fault: Disturbance(fault.value, lambda process, call, fault=fault: fault) for fault in Fault}
THRICE = Disturbance("UNAVAILABLE x3", _unavailable_thrice)
