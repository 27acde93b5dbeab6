"""A Prefect server with every deployment and a worker, but without the stand-in world; and Chromium to look at it.

Where there is no Chromium the tests are skipped, and say so. `.ci/run` installs it.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from rehearsal.server import Server, free_port, prefect_server

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PATIENCE_MS = 60_000
"""For one step of a test: the machine may be busy."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Chromium none of these can run."""
    for item in items:
        if not CHROMIUM and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no Chromium here: install the package chromium, or set CHROMIUM"))


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """Production's and staging's own files, whose vendors are a port where nothing answers."""
    folder = tmp_path_factory.mktemp("browser")
    async with prefect_server(folder) as running:
        files = []
        for name in ("staging", "production"):
            text = (ROOT / f"environments/{name}.toml").read_text()
            text = text.replace('ui_url = "https://prefect.ethixai.com"', f'ui_url = "{running.ui_url}"')
            text = text.replace("[cloud_run]\n", f'[cloud_run]\napi_endpoint = "127.0.0.1:{free_port()}"\n')
            files.append(folder / f"{name}.toml")
            await asyncio.to_thread(files[-1].write_text, text)
        await running.deploy(*files)
        yield running


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests."""
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        await chromium.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of the size that the playbook's screens are made for."""
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    opened = await context.new_page()
    yield opened
    await context.close()
