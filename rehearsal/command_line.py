"""The rehearsal's command line.

python -m rehearsal up                            start everything, print the addresses, stay until Ctrl-C
python -m rehearsal run SCENARIO [SCENARIO ...]   run scenarios; exit status 0 only if all of them pass
python -m rehearsal list                          list the scenarios, one line each
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import secrets
import shlex
import shutil
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from rehearsal import inbox, scale, training
from rehearsal.files import SCALED_BAKE_S, THIRD
from rehearsal.report import phases_table
from rehearsal.runner import run_scenario
from rehearsal.scenario import Scenario, ScenarioResult
from rehearsal.scenarios import SCENARIOS
from rehearsal.stopping import ends_at_a_signal, it_has_stopped
from rehearsal.test_environment import TestEnvironment, running_environment
from rehearsal.world.gcloud import UNWANTED
from rehearsal.world.remote import RemoteWorld, WorldError
from rehearsal.world.serving import serve

PAGES = Path("rehearsal-pages")
"""Where `run` keeps the pages of the releases, in the folder that it is started in."""
SCALED_USERS_PER_S = 25.0
STARTING = "Starting the stand-in world and a Prefect server with its database. This takes about 30 seconds."


def main() -> int:
    """Run the command that was given. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m rehearsal", description="Run releases against a stand-in world on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up_command = commands.add_parser("up", help="start everything and stay until Ctrl-C")
    up_command.add_argument(
        "--scale", action="store_true", help="two API servers, Redis, two workers: as on several machines"
    )
    commands.add_parser("list", help="list the scenarios")
    run = commands.add_parser("run", help="run scenarios")
    run.add_argument("scenarios", nargs="+", metavar="SCENARIO", help="the name of a scenario, or all")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as JSON")
    arguments = parser.parse_args()
    if arguments.command == "list":
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:24} {scenario.description} Expected outcome: {scenario.ends}.")
        return 0
    if arguments.command == "up":
        return asyncio.run(until_stopped(up_scaled if arguments.scale else up))
    names = list(SCENARIOS) if arguments.scenarios == ["all"] else arguments.scenarios
    if unknown := [name for name in names if name not in SCENARIOS]:
        parser.error(f"unknown scenario: {', '.join(unknown)}. Choose from {', '.join(SCENARIOS)}.")
    return asyncio.run(run_scenarios(names, arguments.json))


async def until_stopped(work: Callable[[], Awaitable[None]]) -> int:
    """Run ``work`` until a person stops it. Returns the exit status: 1 where it could not be started, and says why."""
    try:
        await work()
    except asyncio.CancelledError:
        pass
    except (RuntimeError, WorldError, OSError) as error:
        print(f"It could not be started, and everything is stopped again. {error}", file=sys.stderr)
        return 1
    finally:
        it_has_stopped()
    return 0


async def up() -> None:
    """Start everything and stay until SIGINT, SIGTERM or SIGHUP."""
    stopped = ends_at_a_signal()
    print(STARTING, flush=True)
    login = f"rehearsal:{secrets.token_hex(4)}"
    async with running_environment(auth=login, policy=training.POLICY, notices="yes") as test_env:
        lessons = await training.prepare(test_env)
        status = await training.status_page(test_env)
        head = training.head(test_env, lessons, await training.forms(test_env, lessons), status, login)
        async with serve(
            inbox.application(test_env.world.vendor_calls, lambda: head, partial(training.resolve, test_env))
        ) as page:
            print(
                f"For scripts\n"
                f"  Prefect API        {test_env.server.api_url}\n"
                f"  Prometheus         {test_env.world.prometheus_url}\n"
                f"  vendor stand-ins   {test_env.world.vendors_url}\n"
                f"  Cloud Run (v1)     {test_env.world.rest_url} (REST)\n"
                f"  Cloud Run (gRPC)   {test_env.world.grpc_endpoint}\n"
                f"{for_scripts(test_env.world)}"
                f"{for_gcloud(test_env.world)}\n"
                f"Prefect UI   {test_env.server.ui_url}   login {login}\n"
                f"Status       {status}   what serves production now\n"
                f"Start here   {page.url}   links to the forms below, and what Slack, PagerDuty, GitHub and Sentry "
                "received\n\n"
                "Try these, in this order (in the UI: Deployments, Run, Custom run):\n"
                f"{training.printed(lessons)}"
                "Ctrl-C stops everything.",
                flush=True,
            )
            await stopped.wait()


async def up_scaled() -> None:
    """Start everything as on several machines, with three environments, and stay until SIGINT, SIGTERM or SIGHUP."""
    if shutil.which(scale.NEEDS) is None:
        raise RuntimeError(f"Install {scale.NEEDS} with this machine's package manager, then run this again.")
    stopped = ends_at_a_signal()
    print(STARTING, flush=True)
    login = f"rehearsal:{secrets.token_hex(4)}"
    async with running_environment(auth=login, is_scaled=True) as test_env:
        server = test_env.server
        assert isinstance(server, scale.ScaledServer)
        await test_env.clean(SCALED_USERS_PER_S, head_start_s=0)
        version = test_env.new_version()
        await test_env.publish(version)
        parts = "".join(
            f"  {name:9} process group {part.child.pid}, log {part.folder / part.name}.log\n"
            for name, part in server.parts.items()
            if part.child
        )
        print(
            f"{for_gcloud(test_env.world)}\n"
            f"Prefect UI   {server.ui_url}   login {login}\n"
            f"Release {version} to production, staging and {THIRD}. Each bakes its canary for {SCALED_BAKE_S} s.\n"
            f"Kill what you like (kill -9 -PROCESS_GROUP): it is started again {scale.RESTART_S:g} s later.\n{parts}"
            "Ctrl-C stops everything.",
            flush=True,
        )
        await stopped.wait()


def for_scripts(world: RemoteWorld) -> str:
    """What a script needs to call the stand-in with Google's client libraries, to be pasted into its shell."""
    exports = "".join(f"  export {name}={shlex.quote(value)}\n" for name, value in world.client_environ.items())
    return f"{exports}  api_endpoint    {world.grpc_endpoint}\n  a service       {world.find('ethixai-backend')}\n"


def for_gcloud(world: RemoteWorld) -> str:
    """The lines with which an unmodified gcloud works on the rehearsal's production: to be pasted into a shell."""
    exports = "".join(f"  export {name}={shlex.quote(value)}\n" for name, value in world.gcloud_environ.items())
    head = "gcloud             works on the rehearsal in a shell with these lines:"
    return f"{head}\n  unset {' '.join(UNWANTED)}\n{exports}"


async def run_scenarios(names: list[str], path: Path | None) -> int:
    """Run the scenarios one after another in one test environment; those on several machines in another, at the end.

    Returns the exit status.
    """
    ends_at_a_signal()
    results: list[ScenarioResult] = []
    print(STARTING, flush=True)
    names = sorted(names, key=lambda name: SCENARIOS[name].is_scaled)
    with contextlib.suppress(asyncio.CancelledError):
        for is_scaled, group in itertools.groupby(names, lambda name: SCENARIOS[name].is_scaled):
            await _run_group(list(group), results, is_scaled=is_scaled)
    stopped = "The rehearsal was stopped before this scenario had finished."
    has_run = {result.scenario.name for result in results}
    results += [ScenarioResult.not_run(SCENARIOS[name], stopped) for name in names if name not in has_run]
    if path:
        written = [result.json() for result in results]
        path.write_text(json.dumps(written if len(names) > 1 else written[0], indent=2) + "\n")
    if len(names) > 1:
        print("\nAll results:")
    for result in results:
        print(line(result))
    return 0 if all(result.passed for result in results) else 1


def line(result: ScenarioResult) -> str:
    """Whether the scenario ended as it should, and how."""
    verdict = "skipped" if result.skipped else "passed" if result.passed else "FAILED"
    said = "; ".join(result.wrong) or result.message
    return f"{verdict} {result.scenario.name:24} {result.outcome}{said and f': {said}'}"


async def _run_group(names: list[str], results: list[ScenarioResult], *, is_scaled: bool) -> None:
    """Add the results of scenarios that share a test environment. One is started only if a scenario can run in it."""
    lacking = [SCENARIOS[name] for name in names if SCENARIOS[name].lacks]
    results += [ScenarioResult.skip(one, one.lacks) for one in lacking]
    if can_run := [SCENARIOS[name] for name in names if not SCENARIOS[name].lacks]:
        async with running_environment(is_scaled=is_scaled) as test_env:
            for scenario in can_run:
                results.append(await result_of(test_env, scenario))  # what was stopped keeps the rest
                if len(names) > 1:  # the list at the end comes late
                    print(f"{line(results[-1])}\n", flush=True)


async def kept(test_env: TestEnvironment, result: ScenarioResult) -> list[Path]:
    """The pages of the scenario's runs and of what serves now, as HTML files below `PAGES`: readable when the world is
    gone."""
    pages: dict[str, str] = {}
    with contextlib.suppress(RuntimeError):  # there is none yet
        pages["production-now"] = await test_env.prefect.artifact("production-now")
    for run in filter(None, (result.run, result.recovery)):
        pages |= await test_env.prefect.pages(run.id)
    written = [PAGES / result.scenario.name / f"{key}.html" for key in pages]
    for path, (key, text) in zip(written, pages.items(), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(inbox.document(key, text), encoding="utf-8")
    return written


async def result_of(test_env: TestEnvironment, scenario: Scenario) -> ScenarioResult:
    """The result of one scenario. An unexpected error is a failed result, so that the other scenarios still run."""
    try:
        result = await run_scenario(test_env, scenario)
        if not result.skipped:
            print(phases_table(result), flush=True)
            for path in await kept(test_env, result):
                print(f"  page kept: {path}", flush=True)
    except Exception as error:  # noqa: BLE001  # any error: the other scenarios run, and FILE is written
        traceback.print_exc()
        result = ScenarioResult.not_run(scenario, f"The scenario could not be run: {type(error).__name__}: {error}")
    return result
