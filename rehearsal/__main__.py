"""The rehearsal's command line.

python -m rehearsal up                     start everything, print where it is, stay until Ctrl-C
python -m rehearsal run STORY [STORY ...]  tell stories; exit status 0 only if every one ended as it must
python -m rehearsal list                   the stories, one line each
"""

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
import sys
import traceback
from pathlib import Path

from rehearsal.report import stages_table
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import STORIES
from rehearsal.test_environment import TestEnvironment, rehearsal_stage
from rehearsal.world.remote import RemoteWorld


def main() -> int:
    """Do what the command line says. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m rehearsal", description="A team's worst day, on a laptop.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="start everything and stay until Ctrl-C")
    commands.add_parser("list", help="the stories")
    run = commands.add_parser("run", help="tell stories")
    run.add_argument("stories", nargs="+", metavar="STORY", help="a story's name, or all")
    run.add_argument("--json", type=Path, metavar="FILE", help="write what happened there")
    arguments = parser.parse_args()
    if arguments.command == "list":
        for scenario in STORIES.values():
            print(f"{scenario.name:24} {scenario.told}; ends {scenario.ends}")
        return 0
    if arguments.command == "up":
        return asyncio.run(up())
    names = list(STORIES) if arguments.scenarios == ["all"] else arguments.scenarios
    if unknown := [name for name in names if name not in STORIES]:
        parser.error(f"no such story: {', '.join(unknown)}; there are {', '.join(STORIES)}")
    return asyncio.run(run_scenarios(names, arguments.json))


async def up() -> int:
    """Everything runs until somebody ends it."""
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    print("starting the world, Prefect and its database: about half a minute …", flush=True)
    async with rehearsal_stage() as test_env:
        await test_env.clean(users_per_s=20)
        good, bad = await test_env.publish_ready_made()
        print(
            f"Prefect UI      {test_env.server.ui_url}\n"
            f"Prefect API     {test_env.server.api_url}\n"
            f"Cloud Run       {test_env.world.grpc_endpoint} (gRPC)\n"
            f"{for_scripts(test_env.world)}"
            f"Prometheus      {test_env.world.prometheus_url}\n"
            f"desks           {test_env.world.desks_url}\n"
            f"a good version  {good}\n"
            f"a bad one       {bad} (its backend fails 5 % of requests)\n"
            "Start release/production from the UI with one of them. Ctrl-C ends everything.",
            flush=True,
        )
        await stop.wait()
    return 0


def for_scripts(world: RemoteWorld) -> str:
    """What a script of anybody's needs to ask the stand-in with Google's own client: to be pasted into its shell."""
    exports = "".join(f"  export {name}={shlex.quote(value)}\n" for name, value in world.client_environ.items())
    return f"{exports}  api_endpoint    {world.grpc_endpoint}\n  a service       {world.find('ethixai-backend')}\n"


async def run_scenarios(names: list[str], path: Path | None) -> int:
    """Tell the stories one after another on one stage."""
    task = asyncio.current_task()
    assert task is not None
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
    tales: list[ScenarioResult] = []
    print("starting the world, Prefect and its database: about half a minute …", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        async with rehearsal_stage() as test_env:
            for name in names:
                tales.append(await told(test_env, STORIES[name]))
    tales += [ScenarioResult.untold(STORIES[name], "it was ended before it was told") for name in names[len(tales) :]]
    if path:
        written = [result.json() for result in tales]
        path.write_text(json.dumps(written if len(names) > 1 else written[0], indent=2) + "\n")
    for result in tales:
        said = "; ".join(result.wrong) or result.message
        print(f"{'ok   ' if result.passed else 'WRONG'} {result.scenario.name:24} {result.outcome}: {said}")
    return 0 if all(result.passed for result in tales) else 1


async def told(test_env: TestEnvironment, scenario: Scenario) -> ScenarioResult:
    """The story, told; one that cannot be is a failed one, with the sentence of what came instead."""
    try:
        result = await test_env.notify(scenario)
        print(stages_table(result), flush=True)
    except Exception as broken:  # noqa: BLE001  # whatever it is: the stories after it are told, and FILE is written
        traceback.print_exc()
        result = ScenarioResult.untold(scenario, f"it could not be told: {type(broken).__name__}: {broken}")
    return result


if __name__ == "__main__":
    sys.exit(main())
