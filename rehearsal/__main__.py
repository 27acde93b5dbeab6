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
from rehearsal.stage import Stage, rehearsal_stage
from rehearsal.stories import STORIES
from rehearsal.story import Story, Tale
from rehearsal.world.gcloud import UNWANTED
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
        for story in STORIES.values():
            print(f"{story.name:24} {story.told}; ends {story.ends}")
        return 0
    if arguments.command == "up":
        return asyncio.run(up())
    names = list(STORIES) if arguments.stories == ["all"] else arguments.stories
    if unknown := [name for name in names if name not in STORIES]:
        parser.error(f"no such story: {', '.join(unknown)}; there are {', '.join(STORIES)}")
    return asyncio.run(run_stories(names, arguments.json))


async def up() -> int:
    """Everything runs until somebody ends it."""
    stop = asyncio.Event()
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    print("starting the world, Prefect and its database: about half a minute …", flush=True)
    async with rehearsal_stage() as stage:
        await stage.clean(users_per_s=20)
        good, bad = await stage.publish_ready_made()
        print(
            f"Prefect UI      {stage.server.ui_url}\n"
            f"Prefect API     {stage.server.api_url}\n"
            f"Cloud Run       {stage.world.grpc_endpoint} (gRPC)\n"
            f"{for_scripts(stage.world)}"
            f"Cloud Run       {stage.world.rest_url} (v1, REST)\n"
            f"{for_gcloud(stage.world)}"
            f"Prometheus      {stage.world.prometheus_url}\n"
            f"desks           {stage.world.desks_url}\n"
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


def for_gcloud(world: RemoteWorld) -> str:
    """The lines with which an unmodified gcloud works on the rehearsal's production: to be pasted into a shell."""
    exports = "".join(f"  export {name}={shlex.quote(value)}\n" for name, value in world.gcloud_environ.items())
    return (
        f"gcloud          works on the rehearsal in a shell with these lines:\n  unset {' '.join(UNWANTED)}\n{exports}"
    )


async def run_stories(names: list[str], path: Path | None) -> int:
    """Tell the stories one after another on one stage."""
    task = asyncio.current_task()
    assert task is not None
    for sign in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sign, task.cancel)
    tales: list[Tale] = []
    print("starting the world, Prefect and its database: about half a minute …", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        async with rehearsal_stage() as stage:
            for name in names:
                tales.append(await told(stage, STORIES[name]))
    tales += [Tale.untold(STORIES[name], "it was ended before it was told") for name in names[len(tales) :]]
    if path:
        written = [tale.json() for tale in tales]
        path.write_text(json.dumps(written if len(names) > 1 else written[0], indent=2) + "\n")
    for tale in tales:
        said = "; ".join(tale.wrong) or tale.message
        print(f"{'ok   ' if tale.passed else 'WRONG'} {tale.story.name:24} {tale.outcome}: {said}")
    return 0 if all(tale.passed for tale in tales) else 1


async def told(stage: Stage, story: Story) -> Tale:
    """The story, told; one that cannot be is a failed one, with the sentence of what came instead."""
    try:
        tale = await stage.tell(story)
        print(stages_table(tale), flush=True)
    except Exception as broken:  # noqa: BLE001  # whatever it is: the stories after it are told, and FILE is written
        traceback.print_exc()
        tale = Tale.untold(story, f"it could not be told: {type(broken).__name__}: {broken}")
    return tale


if __name__ == "__main__":
    sys.exit(main())
