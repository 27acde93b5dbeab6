"""``python -m rehearsal.world --folder F``: a world in a process of its own, until SIGTERM or SIGINT.

When it is up it prints one line of JSON: the addresses, and the control API's URL as ``control``.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from rehearsal.world.control import addresses, application
from rehearsal.world.serving import serve
from rehearsal.world.world import PRODUCTION, SMALL, STAGING, World, whole


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rehearsal.world", description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, required=True, help="where the world keeps its files")
    parser.add_argument("--small", action="store_true", help="two services of production only")
    parser.add_argument("--services", type=int, default=3, metavar="N", help="so many services in each project")
    parser.add_argument("--projects", nargs="+", default=[PRODUCTION, STAGING], help="the projects that have them")
    parser.add_argument("--json", type=Path, help="write the addresses to this file as well")
    parser.add_argument("--authority", type=Path, help="folder of the certificate authority (default: in the folder)")
    parser.add_argument("--balance", choices=["random", "roundrobin"], default="random", help="how requests are split")
    parser.add_argument("--follow-stdin", action="store_true", help="end when standard input does")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> None:
    """Run a world until it is told to stop; then nothing is left running."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if options.follow_stdin:
        loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 4096) else ended.set())
    specs = SMALL if options.small else whole(options.services, options.projects)
    folder = options.folder.resolve()
    world = World(folder, specs, authority=options.authority, balance=options.balance)
    async with world, serve(application(world)) as served:
        text = json.dumps({**addresses(world), "control": served.url})
        if options.json:
            options.json.with_suffix(".part").write_text(text)
            options.json.with_suffix(".part").replace(options.json)
        print(text, flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(run(_arguments()))
