"""How many of our own functions and files a run passes through: `python -m bench.path`.

The runs are played by the driver of tests/chaos, in process and in virtual time: a release from its form to Promoted, a
manual rollback, and a recovery of a release whose process died in its bake. What is counted: distinct functions and
files of playbook, blocks, tasks and flows that were entered in that run.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path.cwd()
SILENCE_S = 40
"""After so long without a heartbeat a release counts as lost."""
PACKAGES = ("playbook", "blocks", "tasks", "flows")
IS_FIRST_EDITION = (ROOT / "tests" / "chaos" / "scene.py").exists()
"""Whether the tree in which this runs is the first edition, whose driver calls some things otherwise."""
sys.path.insert(0, str(ROOT / "tests" / "chaos"))


class Counter:
    """Collects the code objects that are entered while it is on."""

    def __init__(self) -> None:
        self.seen: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """As `sys.setprofile` wants it."""
        if event == "call":
            self.seen.add(frame.f_code)

    def paths(self) -> dict[str, set[str]]:
        """File -> functions, of our own packages."""
        found: dict[str, set[str]] = {}
        for code in self.seen:
            path = Path(code.co_filename)
            if not path.is_relative_to(ROOT) or path.relative_to(ROOT).parts[0] not in PACKAGES:
                continue
            if not code.co_name.startswith("<"):  # lambdas, comprehensions and module bodies are no functions to name
                found.setdefault(str(path.relative_to(ROOT)), set()).add(code.co_qualname)
        return found


async def promoted(stage: Any, counter: Counter) -> None:
    """A healthy release to production, by way of staging."""
    from_chaos("publish")(stage)
    sys.setprofile(counter)
    run = await stage.release(changes="x")
    sys.setprofile(None)
    assert run.end == "Promoted", run.message


async def rolled_back(stage: Any, counter: Counter) -> None:
    """A manual rollback of what was promoted before."""
    plot = __import__("emergencies").Rollback("rollback")
    await getattr(plot, "set_the_scene" if IS_FIRST_EDITION else "prepare")(stage)
    flow, request = plot.asked()
    sys.setprofile(counter)
    run = stage.start(flow, request=request, environment="production")
    await stage.ended(run)
    sys.setprofile(None)
    assert run.end == "RolledBack", run.message


async def recovered(stage: Any, counter: Counter) -> None:
    """A recovery of a healthy release whose process died in its bake."""
    from flows.recovery import recovery

    from_chaos("publish")(stage)
    run = stage.start_release()
    await stage.until(stage.baking(from_chaos("SERVICES")[0]))
    run.process.die()
    await asyncio.sleep(SILENCE_S)
    sys.setprofile(counter)
    looking = stage.start(recovery, environment="production")
    await stage.ended(looking)
    sys.setprofile(None)
    assert looking.end == "Promoted", looking.message


def from_chaos(name: str) -> Any:
    """A name of the driver."""
    module = __import__("scene" if IS_FIRST_EDITION else "fixture")
    if name == "publish":
        return lambda stage: (stage.scene if IS_FIRST_EDITION else stage.fixture).publish(module.NEW)
    return getattr(module, name)


RUNS: dict[str, Callable[[Any, Counter], Awaitable[None]]] = {
    "form to Promoted": promoted,
    "rollback": rolled_back,
    "recovery": recovered,
}


def main() -> int:
    """Print the table; with a run's name, every function of it."""
    driver = __import__("driver")
    __import__("emergencies")  # before anything of it is replaced
    for name, run in RUNS.items():
        counter = Counter()
        driver.play(lambda stage, run=run, counter=counter: run(stage, counter))
        paths = counter.paths()
        print(f"{name:<18}{sum(map(len, paths.values())):>5} functions {len(paths):>4} files")
        if name in sys.argv[1:]:
            for path, functions in sorted(paths.items()):
                print(f"  {path}: {', '.join(sorted(functions))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
