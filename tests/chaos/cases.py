"""The matrix: every call of a recorded run, every moment of a kill, and the outcome."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from driver import SILENCE_S, Orders, Run, TestEnvironment, play
from faults import Fault
from invariants import broken
from scenarios import ChaosScenario
from wire import Call, Moment

from flows.recovery import recovery

ACTS = ("write", "update_many", "POST")
"""The calls that change traffic or data."""


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
) -> tuple[TestEnvironment, Run, list[Run]]:
    test_env.orders += for_followers
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


def kills(scenario: ChaosScenario, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """Kill the run at every call."""
    calls, _ = recorded(scenario)
    for call in filter(only, calls):
        for moment in Moment:
            yield _case(scenario, "first", call, moment, {call.n: moment})


def deaths(scenario: ChaosScenario) -> list[dict[int, Moment]]:
    """Kills at the first, the middle and the last change that the run makes."""
    acts = [call for call in recorded(scenario)[0] if call.method in ACTS and not call.subject.startswith("staging")]
    chosen = {call.n: Moment.APPLIED for call in (acts[0], acts[len(acts) // 2], acts[-1])}
    return [{n: moment} for n, moment in chosen.items()]


def kills_of_followers(
    scenario: ChaosScenario, first: Orders, only: Callable[[Call], bool] = lambda call: True
) -> Iterator[Case]:
    """After a first kill, kill each run that follows at every call."""
    _, followers = recorded(scenario, first)
    for number, calls in enumerate(followers):
        for call in filter(only, calls):
            for moment in Moment:
                before: list[Orders] = [{}] * number
                yield _case(scenario, f"next {number + 1}", call, moment, first, *before, {call.n: moment})


def _case(scenario: ChaosScenario, who: str, call: Call, moment: Moment | Fault, *orders: Orders) -> Case:
    outcome, seconds, wrong = disturbed(scenario, *orders)
    return Case(scenario.name, who, call, moment.value, outcome, seconds, tuple(wrong))


def timed(cases: Iterable[Case]) -> Iterator[tuple[Case, float]]:
    """Each case with the real seconds that it took."""
    began = time.perf_counter()
    for case in cases:
        yield case, time.perf_counter() - began
        began = time.perf_counter()


def faults(scenario: ChaosScenario, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """Each call of the release gets each fault once, and UNAVAILABLE three times in a row.

    Opening the environments is left out: a run that cannot open them ends before it has begun.
    """
    calls, _ = recorded(scenario)
    for call in (call for call in calls if call.method != "block" and only(call)):
        for fault in Fault:
            yield _fault_case(scenario, call, fault, {call.n: fault})
        yield _fault_case(scenario, call, "UNAVAILABLE x3", dict.fromkeys(range(call.n, call.n + 3), Fault.UNAVAILABLE))


def _fault_case(scenario: ChaosScenario, call: Call, what: str, orders: Orders) -> Case:
    outcome, seconds, wrong = disturbed(scenario, orders)
    return Case(scenario.name, "release", call, str(what), outcome, seconds, tuple(wrong))
