"""One training ground for all browser tests, and Chromium to look at it.

Where there is no Chromium the tests are skipped, and say so. `.ci/run` installs it. With PICTURES=FOLDER each test
keeps what it saw there, if it is one of the README's pictures (`make pictures`). With SCREENS=FOLDER it keeps each
screen light and dark, large and small.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser

from rehearsal import inbox, training
from rehearsal.browser import CHROMIUM, SMALL, WIDE, Ui, chromium
from rehearsal.prefect_api import Run
from rehearsal.test_environment import TestEnvironment
from rehearsal.world.serving import serve

POLICY = """\
bake_s = 30
bake_max_s = 30
horizon_s = 30
canary_percent_max = 10
gate_deadline_s = 900
watch_s = 60
"""
"""A bake that decides nothing but what is bad: no test promotes a release without a person."""
RUNS_MAX_S = 120.0
SETTLES_MS = 1500
DRAWN_MS = 40_000
"""A run's graph is drawn by the processor."""
KEPT = ("form", "reverted", "report", "hold", "status", "inbox")
"""The README's pictures."""
SLOW = dict.fromkeys(("ethixai-backend", "ethixai-frontend"), "slow=2.5@0.1")
"""A person decides about both services, so that each may have a release of its own beside the other."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without Chromium none of these can run."""
    for item in items:
        if not CHROMIUM and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no Chromium here: install the package chromium, or set CHROMIUM"))


@dataclass
class Ground:
    """The training ground, and what the tests have started on it."""

    test_env: TestEnvironment
    lessons: tuple[training.Lesson, ...]
    inbox_url: str
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def good(self) -> training.Lesson:
        """A version without a fault."""
        return self.lessons[0]

    @property
    def bad(self) -> training.Lesson:
        """A version that is reverted."""
        return self.lessons[1]

    @property
    def slow(self) -> training.Lesson:
        """A version that a person decides about."""
        return self.lessons[2]

    async def deployment(self, name: str) -> str:
        """The id of a deployment."""
        async with self.test_env.server.client as api:
            return str((await api.get(f"/deployments/name/{name}")).raise_for_status().json()["id"])

    async def newest(self, deployment: str) -> Run:
        """The newest run of a deployment that a person has started."""
        found = await self.test_env.prefect.runs_of(deployment)
        return max((one for one in found if one.state != "Scheduled"), key=lambda one: one.created_at_s)

    async def start(self, name: str, lesson: training.Lesson, service: str) -> Run:
        """A release of one service, started through the API."""
        parameters = lesson.parameters
        parameters["request"]["services"] = [service]
        self.runs[name] = await self.test_env.prefect.start("release/production", parameters)
        return self.runs[name]

    async def ended(self, name: str) -> Run:
        """A run that the tests have started, once it is over."""
        self.runs[name] = await self.test_env.prefect.wait(self.runs[name].id, RUNS_MAX_S)
        return self.runs[name]


@pytest.fixture(scope="session")
async def ground(test_env: TestEnvironment) -> AsyncIterator[Ground]:
    """Everything that `rehearsal up` starts."""
    lessons = await training.prepare(test_env, POLICY)
    calls, resolve = test_env.world.vendor_calls, partial(training.resolve, test_env)
    async with serve(inbox.application(calls, resolve=resolve)) as page:
        await test_env.publish(lessons[2].version, SLOW)
        yield Ground(test_env, lessons, page.url)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests. It draws graphs for pictures only."""
    async with chromium(draws_graphs="PICTURES" in os.environ or "SCREENS" in os.environ) as started:
        yield started


@pytest.fixture
async def ui(browser: Browser, ground: Ground) -> AsyncIterator[Ui]:
    """A window of the size that the screens are made for."""
    async with Ui.window(browser, ground.test_env.server.ui_url, login=ground.test_env.server.auth) as window:
        yield window


Picture = Callable[[Ui, str], Awaitable[None]]


@pytest.fixture
def picture(browser: Browser, ground: Ground) -> Picture:
    """Keeps what a window shows under a name, where that was asked for."""

    async def keep(ui: Ui, name: str) -> None:
        if (folder := os.environ.get("PICTURES")) and name in KEPT:
            await ui.page.wait_for_timeout(DRAWN_MS if name == "reverted" else SETTLES_MS)
            await ui.picture(Path(folder) / f"{name}.png")
        if folder := os.environ.get("SCREENS"):
            for scheme in ("light", "dark"):
                for size in (WIDE, SMALL):
                    await _screen(ui, scheme, size, Path(folder) / f"{name}-{scheme}-{size[0]}.png")

    async def _screen(ui: Ui, scheme: Any, size: tuple[int, int], path: Path) -> None:
        await ui.page.emulate_media(color_scheme=scheme)
        await ui.size(size)
        await ui.page.wait_for_timeout(SETTLES_MS)
        await ui.picture(path)
        await ui.page.emulate_media(color_scheme="light")
        await ui.size(WIDE)

    return keep
