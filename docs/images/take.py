"""Take the README's pictures again: run `breach` in a rehearsal and photograph the Prefect UI.

    python docs/images/take.py [FOLDER]

Needs Chromium (`/usr/bin/chromium`, or the program that CHROMIUM names). FOLDER is this one where none is given.
"""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from rehearsal.runner import run_scenario
from rehearsal.scenario import ScenarioResult
from rehearsal.scenarios import SCENARIOS
from rehearsal.server import Server
from rehearsal.test_environment import running_environment

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=8000",
)


async def photograph(url: str, path: Path, width: int, height: int) -> None:
    """A picture of the page at ``url``, in pixels. Raises RuntimeError where Chromium makes none."""
    with tempfile.TemporaryDirectory() as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *QUIET,
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
            f"--screenshot={path}",
            url,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() or not await asyncio.to_thread(path.exists):
            raise RuntimeError(f"{CHROMIUM} made no picture of {url}")


async def pages(server: Server, result: ScenarioResult) -> dict[str, tuple[str, int, int]]:
    """Which pages are photographed: the picture's name -> URL, width, height."""
    async with server.client as api:
        newest = {"sort": "CREATED_DESC", "limit": 50, "artifacts": {"flow_run_id": {"any_": [result.run.id]}}}
        found = (await api.post("/artifacts/filter", json=newest)).json()
        form = (await api.get("/deployments/name/release/production")).json()
    page = next(one["id"] for one in found if one["key"].startswith("production-"))
    ui = f"{server.ui_url}/v2"
    return {
        "reverted.png": (f"{ui}/runs/flow-run/{result.run.id}?tab=Details", 1400, 1000),
        "report.png": (f"{ui}/artifacts/artifact/{page}", 1400, 1700),
        "form.png": (f"{ui}/deployments/deployment/{form['id']}/run", 1400, 1400),
    }


async def main(folder: Path) -> None:
    """Run the scenario, take the pictures, stop everything."""
    async with running_environment() as test_env:
        result = await run_scenario(test_env, SCENARIOS["breach"])
        for name, (url, width, height) in (await pages(test_env.server, result)).items():
            await photograph(url, folder / name, width, height)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parent))
