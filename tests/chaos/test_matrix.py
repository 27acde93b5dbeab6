"""A sample of the matrix (`make chaos` runs all of it), and the proof that a killed process does nothing more."""

import asyncio

import pytest
from cases import ACTS, disturbed, recorded
from driver import TestEnvironment, play
from fixture import NEW
from scenarios import BREACH, BROKEN_START, HEALTHY, RELEASES, ChaosScenario, Release
from vendors import METHODS
from wire import PROCESS, READS, Moment, Process, Wire

from playbook.errors import Transient

EVERY = 41
"""The sample takes every 41st call; a prime, so that it covers all kinds of calls."""


def test_a_killed_process_makes_no_more_calls() -> None:
    """Neither a finally, nor a concurrent task, nor an except clause reaches the outside after the kill."""

    async def scenario(test_env: TestEnvironment) -> tuple[Process, list[str]]:
        wire, applied = Wire(), []
        process = Process("doomed", "1", {1: Moment.APPLIED})
        PROCESS.set(process)

        async def call(name: str) -> None:
            await wire.carry("outside", name, "", lambda: applied.append(name))

        async def beside() -> None:
            await asyncio.sleep(1)
            await call("beside")

        async def work() -> None:
            other = asyncio.create_task(beside())
            try:
                await call("first")
                await call("fatal")
                await call("never")
            except (Transient, OSError):
                await call("except")
            finally:
                await call("finally")
                await other

        task = asyncio.create_task(work())
        await process.death.wait()
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.sleep(10)
        return process, applied

    process, applied = play(scenario)
    assert applied == ["first", "fatal"]
    assert process.refused == ["outside.fatal", "outside.beside", "outside.finally"]


def test_a_call_that_changes_something_is_killed_at_every_moment() -> None:
    """None passes for one that only reads, of which a lost reply is not played."""
    changes = [name for asked, name in METHODS.items() if asked.startswith("POST")]
    others = ("stale write", "put", "resolve", "artifact", "progress", "start", "pause", "insert_many", "drop")
    assert not [name for name in (*changes, *ACTS, *others) if READS.fullmatch(name)]


def test_a_recorded_run_is_the_same_every_time() -> None:
    """Call by call, so that a number means the same call in every case of the matrix."""
    assert recorded(HEALTHY) == recorded(HEALTHY)


@pytest.mark.parametrize("scenario", RELEASES, ids=lambda scenario: scenario.name)
def test_an_undisturbed_release_goes_to_its_end(scenario: Release) -> None:
    """A release that is refused at once would pass every kill."""
    outcome, _, wrong = disturbed(scenario, {})
    assert (outcome, wrong) == ("promoted" if scenario.is_good else "on stable", [])
    assert any(call.method == "write" and call.subject.startswith("production") for call in recorded(scenario)[0])


def test_a_bake_passes_in_virtual_time() -> None:
    """A release with its watch takes more virtual seconds than its bake."""

    async def scenario(test_env: TestEnvironment) -> float:
        began_s = test_env.fixture.now()
        test_env.fixture.publish(NEW)
        await test_env.release()
        return test_env.fixture.now() - began_s

    assert play(scenario) > 12


@pytest.mark.parametrize("scenario", [HEALTHY, BREACH, BROKEN_START], ids=lambda scenario: scenario.name)
def test_a_release_survives_being_killed_at_any_call(scenario: ChaosScenario) -> None:
    """At whichever call and moment: production ends on one healthy revision, and nothing is done twice."""
    calls, _ = recorded(scenario)
    for call in calls[::EVERY]:
        for moment in Moment:
            _, _, wrong = disturbed(scenario, {call.n: moment})
            assert not wrong, f"{call}, {moment}"


def half_way(scenario: ChaosScenario) -> dict[int, Moment]:
    """A kill between the first and the second traffic shift of the bake."""
    calls, _ = recorded(scenario)
    bake = next(call for call in calls if call.subject.startswith("production") and call.subject.endswith("BAKE"))
    return {bake.n: Moment.APPLIED}


@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_a_recovery_survives_being_killed_too(scenario: ChaosScenario) -> None:
    """The release was killed half-way, and its recovery is killed at any of its calls."""
    first = half_way(scenario)
    _, (calls, *_) = recorded(scenario, first)
    for call in calls[::EVERY]:
        for moment in Moment:
            _, _, wrong = disturbed(scenario, first, {call.n: moment})
            assert not wrong, f"{call}, {moment}"


@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_two_concurrent_recoveries_do_the_work_of_one(scenario: ChaosScenario) -> None:
    """Both start at the same moment; one is fenced, the other finishes."""
    _, _, wrong = disturbed(scenario, half_way(scenario), twice=True)
    assert not wrong
