"""Outages: a system becomes unavailable at one call, for longer than any task retries, and then works again.

Prefect's server is left out: a run does not outlive such an outage of its own engine's server, and the kills cover
runs that die.
"""

from collections.abc import Callable, Iterator

from cases import Case, recorded
from driver import Run, TestEnvironment, play
from faults import Fault
from invariants import broken
from scenarios import ChaosScenario
from wire import Call, Process

from playbook.errors import Transient, Unfinished

AWAY_S = 1200
"""Longer than a revert is retried (8 minutes: then it pages, and recovery finishes it), shorter than a message is
retried (30 minutes)."""


def outages(scenario: ChaosScenario, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """Each system becomes unavailable at each call that the release makes to it."""
    calls, _ = recorded(scenario)
    for call in (call for call in calls if call.system != "prefect" and only(call)):
        test_env, run = play(lambda test_env, call=call: _outage(test_env, scenario, call))
        wrong = (*broken(test_env, may_fail=(Transient, Unfinished)), *scenario.wrong(test_env, run))
        yield Case(scenario.name, "first", call, "away from here", scenario.outcome(test_env), test_env.ended_s, wrong)


async def _outage(test_env: TestEnvironment, scenario: ChaosScenario, first: Call) -> tuple[TestEnvironment, Run]:
    back_s = float("inf")

    def away(process: Process, call: Call) -> Fault | None:
        nonlocal back_s
        if call == first and process.name == "release 0" and back_s == float("inf"):
            back_s = test_env.fixture.now() + AWAY_S
        is_away = call.system == first.system and test_env.fixture.now() < back_s < float("inf")
        return Fault.UNAVAILABLE if is_away else None

    test_env.fixture.wire.faults.append(away)
    began_s = test_env.fixture.now()
    run = await scenario.begin(test_env, {})
    await test_env.recover()  # during the outage
    await test_env.until(lambda: test_env.fixture.now() >= back_s)
    await scenario.follow(test_env, run)
    await test_env.catch_up()
    test_env.ended_s = test_env.fixture.now() - began_s
    return test_env, run
