"""Prefect's UI as a person uses it, in Chromium: for the browser tests and the README's pictures."""

import asyncio
import base64
import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, async_playwright, expect
from playwright.async_api import TimeoutError as PlaywrightTimeout

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
"""The program; empty where there is none. Debian's package is called chromium."""
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run", "--hide-scrollbars")
GRAPH = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""A run's graph is drawn with WebGL: without a graphics card the processor draws it."""
NO_GRAPH = ("--disable-gpu",)
PATIENCE_MS = 60_000
"""For one step: the machine may be busy."""
AGAIN_MS = 5_000
"""Before a page is loaded again."""
WIDE, SMALL = (1440, 900), (1024, 768)


@asynccontextmanager
async def chromium(*, draws_graphs: bool = False) -> AsyncIterator[Browser]:
    """One Chromium. ``draws_graphs``: of runs, which keeps a processor busy and every page slow."""
    async with async_playwright() as playwright:
        arguments = [*ARGUMENTS, *(GRAPH if draws_graphs else NO_GRAPH)]
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield started
        finally:
            await started.close()


class Ui:
    """One window of the UI at ``url``, logged in with ``login`` (user:password) where the server has one."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self._url = f"{url}/v2"

    @classmethod
    @asynccontextmanager
    async def window(
        cls, browser: Browser, url: str, *, login: str = "", size: tuple[int, int] = WIDE, scheme: str = "light"
    ) -> AsyncIterator["Ui"]:
        """A window of this size (pixels) in the light or the dark scheme."""
        context = await browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        context.set_default_timeout(PATIENCE_MS)
        if login:
            word = base64.b64encode(login.encode()).decode()
            await context.add_init_script(f"localStorage.setItem('prefect-password', '{word}')")
        try:
            yield cls(await context.new_page(), url)
        finally:
            await context.close()

    async def open(self, path: str) -> None:
        """The page at ``path`` of the UI, such as ``/runs``; or at a whole address."""
        await self.page.goto(path if path.startswith("http") else self._url + path)

    async def run(self, run_id: str, tab: str = "Logs") -> None:
        """The page of a flow run."""
        await self.open(f"/runs/flow-run/{run_id}?tab={tab}")
        await expect(self.page.get_by_role("button", name="Open menu")).to_be_visible(timeout=PATIENCE_MS)

    async def form(self, deployment_id: str) -> None:
        """The empty form of a deployment."""
        await self.open(f"/deployments/deployment/{deployment_id}/run")
        await expect(self.box("Environment")).to_be_visible(timeout=PATIENCE_MS)

    def box(self, title: str) -> Locator:
        """The box of a field, by its title; a field that may stay empty says so."""
        return self.page.get_by_label(re.compile(rf"^(Select )?{re.escape(title)}( \(Optional\))?$")).first

    async def submit(self) -> None:
        """Ask for the run."""
        await self.page.get_by_role("button", name="Submit").click()

    async def menu(self, entry: str, confirm: str) -> None:
        """Choose an entry of the run's menu and confirm it with the button of this name."""
        await self.page.get_by_role("button", name="Open menu").click()
        await self.page.get_by_role("menuitem", name=entry, exact=True).click()
        await self.page.get_by_role("button", name=confirm, exact=True).click()

    def text(self, words: str | re.Pattern[str]) -> Locator:
        """The first place that shows these words."""
        return self.page.get_by_text(words).first

    async def sees(self, words: str | re.Pattern[str], timeout_s: float = PATIENCE_MS / 1000) -> None:
        """Wait until the page shows these words."""
        await expect(self.text(words)).to_be_visible(timeout=timeout_s * 1000)

    async def shows(self, wanted: Locator, timeout_s: float = PATIENCE_MS / 1000) -> None:
        """Load the page again until it shows ``wanted``: the UI asks for neither a run's artifacts nor a run that is
        over a second time (3.9.1). Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(PlaywrightTimeout):
                    await wanted.wait_for(state="visible", timeout=AGAIN_MS)
                    return
                await self.page.reload()

    async def size(self, size: tuple[int, int]) -> None:
        """The window has this size, in pixels."""
        await self.page.set_viewport_size({"width": size[0], "height": size[1]})

    async def picture(self, path: Path) -> None:
        """Keep what the window shows."""
        await self.page.screenshot(path=path, timeout=3 * PATIENCE_MS)
