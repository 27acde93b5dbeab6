"""A sample of the matrix with real processes and SIGKILL: `python tests/chaos/for_real.py [--skip N] [--cases N]`.

One whole rehearsal. For each case the stand-in world holds one call, the flow's process is killed meanwhile, and then
nothing else is done until recovery has ended. Prints a table (call, moment, outcome, seconds from the kill to the
end of recovery) and ends with 1 if a case breaks.
"""
# ruff: noqa: T201  # a command line prints

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from real_cases import CASES, Baking, Call, Case
from real_checks import PROJECTS, Seen, is_held, wrong

from rehearsal.prefect_api import Run
from rehearsal.test_environment import TestEnvironment, running_environment

MET_WITHIN_S = 150.0
RECOVERED_WITHIN_S = 240.0
QUIET_S = 3.0
"""Nothing is under way for so long: whatever starts by itself has started."""
AFTERWARDS = ("recovery/production", "recovery/staging", "announce/production")


@dataclass(frozen=True)
class Result:
    """The result of a case. ``seconds`` are real ones, from the first kill to the end of the last recovery."""

    case: Case
    outcome: str
    seconds: float
    wrong: tuple[str, ...]


async def result_of(test_env: TestEnvironment, case: Case) -> Result:
    """Run one case, from a clean state to the end of its last recovery."""
    await test_env.clean(case.scenario.users_per_s, case.scenario.head_start_s)
    version = test_env.new_version()
    await test_env.publish(version, case.scenario.behaviours)
    before = {project: await test_env.world.served(project) for project in PROJECTS}
    if isinstance(case.call, Call):
        await case.call.await_it(test_env.world, case.moment)
    run = await test_env.prefect.start("release/production", test_env.request(version, "a doomed release"))
    try:
        killed_s = await kill(test_env, run, case)
        ended_s = await recovered(test_env, run, killed_s)
    except TimeoutError as late:
        return Result(case, "hangs", time.time() - run.created_at_s, (str(late),))
    watches = [
        one for one in await test_env.prefect.runs_of("watch/production") if one.created_at_s >= run.created_at_s
    ]
    services, writes, words = (
        await test_env.world.state(),
        await test_env.world.writes(),
        await test_env.world.vendor_calls(),
    )
    seen = Seen(version, before, services, writes, words, len(watches))
    found = wrong(seen)
    if seen.outcome != case.ends:
        found.append(f"production is {seen.outcome}; it must be {case.ends}")
    return Result(case, seen.outcome, ended_s - killed_s, tuple(found))


async def kill(test_env: TestEnvironment, run: Run, case: Case) -> float:
    """The release is killed at its call, and its recovery at its own. Returns when the first died, in unix seconds.

    Raises: TimeoutError (no such call came).
    """
    if isinstance(case.call, Baking):
        await test_env.until(run, "monitor")
        await asyncio.sleep(case.call.seconds)
    else:
        await met(test_env, case.call)
    if case.then:
        await case.then[0].await_it(test_env.world, case.then[1])  # before the recovery can come so far
    killed_s = time.time()
    test_env.kill(run)
    if case.then:
        await met(test_env, case.then[0])
        for one in await under_way(test_env, "recovery/production", killed_s):
            test_env.kill(one)
    return killed_s


async def met(test_env: TestEnvironment, call: Call) -> None:
    """The call has come. Raises TimeoutError."""
    if not await test_env.world.fault_met(MET_WITHIN_S):
        raise TimeoutError(f"{call} did not come within {MET_WITHIN_S:.0f} s")


async def recovered(test_env: TestEnvironment, run: Run, killed_s: float) -> float:
    """Return once nothing is left to do: when the last run that did something ended, in unix seconds.

    Raises: TimeoutError.
    """
    quiet_since_s = float("inf")
    while time.time() < killed_s + RECOVERED_WITHIN_S:
        await asyncio.sleep(0.5)
        runs = [one for name in AFTERWARDS for one in await under_way(test_env, name, killed_s)]
        is_busy = is_held(await test_env.world.state()) or not all(one.is_over for one in runs)
        if is_busy or not runs or not (await test_env.prefect.run(run.id)).is_over:
            quiet_since_s = float("inf")
            continue
        quiet_since_s = min(quiet_since_s, time.time())
        if time.time() - quiet_since_s > QUIET_S:
            did = [one for one in runs if one.state not in ("Passed", "Crashed")]
            return max(one.ended_at_s or killed_s for one in did or runs)
    raise TimeoutError(f"not recovered within {RECOVERED_WITHIN_S:.0f} s")


async def under_way(test_env: TestEnvironment, deployment: str, since_s: float) -> list[Run]:
    """The runs of a deployment that ended since then, or have not ended yet; those that are only due are not in it."""
    runs = await test_env.prefect.runs_of(deployment)
    return [one for one in runs if one.state_type != "SCHEDULED" and (one.ended_at_s or time.time()) >= since_s]


def line(result: Result) -> str:
    """One row of the table."""
    case = result.case
    moment = "between calls" if isinstance(case.call, Baking) else case.moment.replace("it is sent", "it is applied")
    rows = [f"{case.scenario.name:<14}{case.call!s:<66}{moment:<22}{result.outcome:<11}{result.seconds:6.1f}"]
    if case.then:
        call, at = case.then
        rows.append(f"{'':<14}{'then its recovery, ' + str(call):<66}{at.replace('it is sent', 'it is applied')}")
    return "\n".join([*rows, *(f"    BROKEN: {sentence}" for sentence in result.wrong)])


def resident_mb(pid: int) -> float:
    """What a process holds in memory, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


async def sample(cases: Iterable[Case], results: list[Result], held_mb: list[float]) -> None:
    """Run every case in one test environment and print it as it ends; also collect the worker's memory after each."""
    async with running_environment(say=lambda text: None) as test_env:
        worker = test_env.server.worker
        assert worker is not None
        held_mb.append(resident_mb(worker.pid))
        for case in cases:
            results.append(await result_of(test_env, case))
            held_mb.append(resident_mb(worker.pid))
            print(line(results[-1]), flush=True)


def summary(results: list[Result], held_mb: list[float], took_s: float) -> str:
    """The sum below the table: how many, how long, and whether the worker's memory stays as it is."""
    broken = sum(bool(result.wrong) for result in results)
    slowest = max((result.seconds for result in results), default=0.0)
    held = ", ".join(f"{mb:.0f}" for mb in held_mb)
    return (
        f"\n{len(results)} kills in {took_s / 60:.0f} min; from kill to recovered at most {slowest:.1f} s; "
        f"{broken} broken\nthe worker's resident memory at the start and after each: {held} MB"
    )


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip", type=int, default=0, help="begin after so many")
    parser.add_argument("--cases", type=int, default=len(CASES), help=f"only so many of the {len(CASES)}")
    options = parser.parse_args()
    cases = CASES[options.skip :][: options.cases]
    began_s, results, held_mb = time.time(), list[Result](), list[float]()
    print(f"{'release':<14}{'killed at':<66}{'moment':<22}{'outcome':<11}{'seconds':>6}", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(sample(cases, results, held_mb))
    print(summary(results, held_mb, time.time() - began_s))
    return 0 if len(results) == len(cases) and not any(result.wrong for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
