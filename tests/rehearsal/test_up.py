"""`rehearsal up` as a person starts and stops it: whenever Ctrl-C comes, nothing is left behind."""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rehearsal.command_line import STARTING
from rehearsal.processes import with_environ
from rehearsal.stopping import STOPPING

READY = "Ctrl-C stops everything."
WITHIN_S = 120.0
VERSION = re.compile(r"v\d{8}-600d01")

MARK = "REHEARSAL_UP"
"""In the environment of each process that was started for one `rehearsal up`."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for everything temporary. Its path is short: sockets are below it."""
    folder = Path(tempfile.mkdtemp(prefix="up-"))
    yield folder
    shutil.rmtree(folder)


def left(temporary: Path) -> list[object]:
    """Every process and everything temporary that is still there. A user's `runtime-…` is platformdirs', where there is
    no XDG_RUNTIME_DIR."""
    folders = (one for one in temporary.iterdir() if not one.name.startswith("runtime-"))
    return [*with_environ(MARK, temporary), *folders]


class Up:
    """One `rehearsal up`, started as from a shell."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    @classmethod
    async def start(cls, temporary: Path) -> "Up":
        """Start it."""
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-u", "-m", "rehearsal", "up"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env={**os.environ, "TMPDIR": str(temporary), MARK: str(temporary)},
                start_new_session=True,
            )
        )

    async def until(self, words: str) -> None:
        """Return once it has printed these words."""
        assert self.process.stdout
        async with asyncio.timeout(WITHIN_S):
            while not any(words in line for line in self.said):
                line = await self.process.stdout.readline()
                assert line, f"it ended and had said: {self.said}"
                self.said.append(line.decode().rstrip("\n"))

    async def release(self) -> None:
        """Start the release of its good version, and return once users are on the canary."""
        text = "\n".join(self.said)
        api, login = (re.search(f"{name} +(\\S+)", text) for name in ("Prefect API", "login"))
        version = VERSION.search(text)
        assert api
        assert login
        assert version
        user, _, password = login[1].partition(":")
        request = {"version": version[0], "requested_by": "Ada"}
        body = {"parameters": {"environment": "production", "request": request}}
        async with httpx.AsyncClient(base_url=api[1], auth=(user, password), trust_env=False) as http:
            found = (await http.get("/deployments/name/release/production")).raise_for_status().json()
            run = (await http.post(f"/deployments/{found['id']}/create_flow_run", json=body)).raise_for_status().json()
            wanted = {"flow_runs": {"id": {"any_": [run["id"]]}}, "task_runs": {"name": {"like_": "monitor"}}}
            for _ in range(int(2 * WITHIN_S)):
                if (await http.post("/task_runs/filter", json=wanted)).raise_for_status().json():
                    return
                await asyncio.sleep(0.5)
        raise AssertionError("the release did not come to its canary")

    async def rest(self) -> list[str]:
        """What it says until its end."""
        async with asyncio.timeout(WITHIN_S):
            said, _ = await self.process.communicate()
        return [line for line in said.decode().splitlines() if line]


MOMENTS = {
    "as it begins": (0.0, (signal.SIGINT,)),
    "early, pressed twice": (4.0, (signal.SIGINT, signal.SIGINT)),
    "while it deploys": (12.0, (signal.SIGTERM, signal.SIGTERM)),
}


@pytest.mark.parametrize(("after_s", "signs"), MOMENTS.values(), ids=MOMENTS)
async def test_it_can_be_stopped_while_it_starts(
    temporary: Path, after_s: float, signs: tuple[signal.Signals, ...]
) -> None:
    """One plain line, no process, no folder."""
    up = await Up.start(temporary)
    await up.until(STARTING)
    await asyncio.sleep(after_s)
    for sign in signs:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            up.process.send_signal(sign)
        await asyncio.sleep(0.2)
    assert await up.rest() == [STOPPING]
    assert up.process.returncode == 0
    assert left(temporary) == []


@pytest.mark.skipif(not os.environ.get("RELEASE_DAY"), reason="takes two minutes more: set RELEASE_DAY=1")
async def test_it_can_be_stopped_while_a_release_runs_and_another_one_stays(temporary: Path) -> None:
    """A second one beside it has ports of its own, and goes on when the first has gone."""
    first_folder, second_folder = temporary / "1", temporary / "2"
    for folder in (first_folder, second_folder):
        folder.mkdir()
    first, second = await Up.start(first_folder), await Up.start(second_folder)
    await asyncio.gather(first.until(READY), second.until(READY))
    await first.release()
    for one, folder in ((first, first_folder), (second, second_folder)):
        assert with_environ(MARK, folder)
        for _ in range(2):
            one.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.5)
        assert await one.rest() == [STOPPING]
        assert one.process.returncode == 0
        assert left(folder) == []
