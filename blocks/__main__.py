"""``python -m blocks apply FILE``: the environment that FILE describes exists on the Prefect server, as its blocks.

``check FILE`` says what is wrong with files; ``adopt ENVIRONMENT`` signs records that the engine has not signed;
``deploy`` puts every deployment of prefect.yaml on the server, with the choices of its environment in its form.
Exit status: 0 done, 1 it could not be done, 2 a file or an argument is wrong (nothing is written then).
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import TextIO

import httpx
from prefect.blocks.core import Block
from prefect.context import AsyncClientContext
from prefect.settings import get_current_settings

import blocks
from blocks import Environment, files, forms, rules
from blocks.adopt import adopt
from blocks.moved import held_at_old_place
from blocks.prefect_api import HINT, PREFECT_AWAY, what_came
from blocks.production_check import production_check
from blocks.server_notices import remove_notices
from playbook.analysis.dashboard import alert_rules, dashboard
from playbook.analysis.signals import playbook_table
from playbook.errors import BadRequest, ReleaseError

WORKERS = "Workers are started as docs/production.md says (4), not with `prefect worker start` as above."
NO_SERVER = "PREFECT_API_URL is not set; set it to the server's API, for example http://127.0.0.1:4200/api"


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says (None: this process's own). Answers the exit status."""
    parser = argparse.ArgumentParser(prog="python -m blocks", description="The blocks of an environment file.")
    commands = parser.add_subparsers(dest="command", required=True)
    apply = commands.add_parser("apply", help="create or update the blocks on the Prefect server (PREFECT_API_URL)")
    check = commands.add_parser("check", help="say what is wrong with the files; no server is needed")
    check.add_argument(
        "--without-secrets", action="store_true", help="do not try to read the secrets from this machine"
    )
    for command in (apply, check):
        command.add_argument("files", nargs="+", type=Path, metavar="FILE")
    commands.add_parser("deploy", help="deploy prefect.yaml with the choices of each environment")
    ready = commands.add_parser("production-check", help="say what is still missing before the first release, in order")
    ready.add_argument("files", nargs=1, type=Path, metavar="FILE")
    sign = commands.add_parser("adopt", help="show the records on the services that are not signed, ask, and sign them")
    sign.add_argument("environment", metavar="ENVIRONMENT", help="the name of a saved environment")
    sign.add_argument(
        "--remove", action="append", default=[], metavar="SERVICE", help="remove what SERVICE carries, and sign that"
    )
    board = commands.add_parser("dashboard", help="print Grafana's dashboard, or Prometheus's alert rules, as JSON")
    board.add_argument("--rules", action="store_true", help="the alert rules instead of the dashboard")
    board.add_argument("files", nargs=1, type=Path, metavar="FILE")
    asked = parser.parse_args(arguments)
    if asked.command == "dashboard":
        return asyncio.run(_dashboard(asked.files[0], is_rules=asked.rules))
    if asked.command == "adopt":
        return asyncio.run(_adopt(asked.environment, asked.remove))
    if asked.command == "production-check":
        return asyncio.run(_production_check(asked.files[0]))
    if asked.command == "deploy":
        return asyncio.run(_deploy())
    is_apply = asked.command == "apply"
    return asyncio.run(_run(asked.files, with_secrets=not is_apply and not asked.without_secrets, apply=is_apply))


async def _run(paths: list[Path], *, with_secrets: bool, apply: bool) -> int:
    environments: list[Environment] = []
    problems: list[str] = []
    for path in paths:
        try:
            environments.append(await files.read(path, with_secrets=with_secrets))
        except BadRequest as wrong:
            problems += wrong.problems
    if problems:
        _say(sys.stderr, *problems)
        return 2
    _say(sys.stderr, *(f"{one.name}: warning: {said}" for one in environments for said in rules.warnings(one)))
    if not apply:
        _say(sys.stdout, *(f"{environment.name}: nothing is wrong" for environment in environments))
        return 0
    return await _apply(environments)


def _server() -> str | None:
    """The Prefect server's API; None, and said so, where no server is named."""
    if not (url := get_current_settings().api.url):
        # Prefect would start a server of its own, save there and forget it.
        _say(sys.stderr, NO_SERVER)
    return url


async def _deploy() -> int:
    """Deploy everything, then finish the forms. Answers the exit status."""
    if not (url := _server()):
        return 1
    command = (sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all")
    process = await asyncio.create_subprocess_exec(*command)
    if await process.wait():
        _say(sys.stderr, "prefect deploy --all failed; its output above says why. The forms were not changed.")
        return 1
    ended = await _finish(url)
    _say(sys.stdout, WORKERS)
    return ended


async def _production_check(path: Path) -> int:
    """Look at everything, and print each step as it is known. Answers the exit status."""
    if not _server():
        return 1
    missing = 0
    async for looked in production_check(path):
        _say(sys.stdout, *looked.lines)
        sys.stdout.flush()
        missing += len(looked.problems)
    _say(sys.stdout, f"{missing} missing. Mend the first, then run this again." if missing else "nothing is missing")
    return 1 if missing else 0


async def _finish(url: str, only: Environment | None = None) -> int:
    try:
        done = await forms.finish_deployments(only)
    except PREFECT_AWAY as error:
        _say(sys.stderr, f"the Prefect server at {url} did not take the forms: {error}. Run this command again.")
        return 1
    if done:
        _say(sys.stdout, f"finished the forms of {', '.join(done)}")
    return 0


async def _adopt(name: str, remove: list[str]) -> int:
    if not _server():
        return 1
    try:
        environment = await Environment.open(name)
    except BadRequest as wrong:
        _say(sys.stderr, *wrong.problems)
        return 2
    except (httpx.HTTPError, RuntimeError) as error:
        _say(sys.stderr, f"the Prefect server did not answer: {what_came(error)}")
        return 1
    return await adopt(environment, remove, lambda line: _say(sys.stdout, line), _ask)


def _ask(question: str) -> str:
    """What a person answers on the terminal; empty where there is none."""
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline().strip()


async def _dashboard(path: Path, *, is_rules: bool) -> int:
    """Prometheus reads YAML, and JSON is YAML: both are printed as JSON."""
    try:
        env = await files.read(path, with_secrets=False)
    except BadRequest as wrong:
        _say(sys.stderr, *wrong.problems)
        return 2
    made = alert_rules if is_rules else dashboard
    signals = (*playbook_table(env.policy), *env.signals)
    _say(sys.stdout, json.dumps(made(env.name, env.services, signals, env.queries.text_of), indent=2))
    return 0


async def _apply(environments: list[Environment]) -> int:
    if not (url := _server()):
        return 1
    try:
        async with AsyncClientContext.get_or_create():  # one client, where Prefect would make one for each block
            if stopped := [f"{one.name}: {why}" for one in environments if (why := await held_at_old_place(one))]:
                _say(sys.stderr, *stopped)
                return 1
            for name in blocks.__all__:
                block: type[Block] = getattr(blocks, name)
                await block.aregister_type_and_schema()
                _say(sys.stdout, f"registered {block.get_block_type_name()}")
            for environment in environments:
                await environment.asave(environment.name, overwrite=True)
                services = ", ".join(environment.service_names)
                _say(sys.stdout, f"saved {environment.name} ({services}; policy {environment.policy.name})")
    except (httpx.HTTPError, RuntimeError) as error:
        _say(sys.stderr, f"the Prefect server at {url} did not take it: {what_came(error)}. {HINT}")
        return 1
    ends = [await _finish(url, environment) for environment in environments]
    return max([*ends, *[await _publish(environment) for environment in environments]], default=0)


async def _publish(environment: Environment) -> int:
    """What the server tells by itself is as the file says. Answers the exit status."""
    notices = environment.server_notices
    try:
        if notices is None:
            await remove_notices(environment.name)
            return 0
        told = await notices.publish(environment.name, is_production=environment.is_production)
    except (ReleaseError, *PREFECT_AWAY) as error:
        _say(sys.stderr, f"the server's notices of {environment.name} are as they were: {error} Apply the file again.")
        return 1
    _say(sys.stdout, f"the server has {len(told)} notices about {environment.name}")
    return 0


def _say(stream: TextIO, *lines: str) -> None:
    stream.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
