"""Outages: a system becomes unavailable at one call, for longer than any task retries, and then works again.

Prefect's server is left out: a run does not outlive such an outage of its own engine's server, and the kills cover
runs that die.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from cases import Case
from driver import Run, TestEnvironment, play
from faults import Fault
from forks import Disturbance, Forks
from invariants import broken
from scenarios import ChaosScenario
from wire import Call, Process

from playbook.errors import Transient, Unfinished

AWAY_S = 1200
"""Longer than a revert is retried (8 minutes: then it pages, and recovery finishes it), shorter than a message is
retried (30 minutes)."""


def outages(scenario: ChaosScenario, only: Callable[[Call], bool] = lambda call: True, jobs: int = 1) -> Iterator[Case]:
    """Each system becomes unavailable at each call that the release makes to it."""
    first: dict[int, Fault] = {}

    def at(process: Process, call: Call) -> Iterable[Disturbance]:
        is_it = process.orders is first and call.system != "prefect" and only(call)
        return (Disturbance("away from here", lambda process, call: Fault.UNAVAILABLE),) if is_it else ()

    def whole() -> Case | None:
        test_env, run = play(lambda test_env: _outage(test_env, scenario, first, forks))
        if not forks.taken:
            return None
        _, call, what = forks.taken
        wrong = (*broken(test_env, may_fail=(Transient, Unfinished)), *scenario.wrong(test_env, run))
        return Case(scenario.name, "first", call, what, scenario.outcome(test_env), test_env.ended_s, wrong)

    forks = Forks(at, jobs)
    return forks.results(whole)


async def _outage(
    test_env: TestEnvironment, scenario: ChaosScenario, orders: dict[int, Fault], forks: Forks
) -> tuple[TestEnvironment, Run]:
    back_s = float("inf")

    def away(process: Process, call: Call) -> Fault | None:
        nonlocal back_s
        if forks.taken and back_s == float("inf"):
            back_s = test_env.fixture.now() + AWAY_S
        is_away = forks.taken and call.system == forks.taken[1].system and test_env.fixture.now() < back_s
        return Fault.UNAVAILABLE if is_away else None

    test_env.fixture.wire.faults += (forks.ask, away)
    began_s = test_env.fixture.now()
    run = await scenario.begin(test_env, orders)
    if not forks.taken:
        return test_env, run
    await test_env.recover()  # during the outage
    if back_s < float("inf"):
        await asyncio.sleep(back_s - test_env.fixture.now())
    await scenario.follow(test_env, run)
    await test_env.catch_up()
    test_env.ended_s = test_env.fixture.now() - began_s
    return test_env, run
