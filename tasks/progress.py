"""The course of a bake in the UI: a progress artifact with what is left, and the release's page with what is seen."""

import asyncio
import contextlib
from collections.abc import Sequence
from uuid import UUID

from prefect import artifacts
from prefect.client import orchestration
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import ObjectNotFound

from blocks.prefect_api import PREFECT_AWAY
from playbook.analysis.verdict import Verdict
from playbook.messages.progress import bake_line, bake_text, done_percent
from playbook.messages.report import Report
from playbook.text import clean
from tasks.report import PAGE_WAITS_S, show_page

LINE_MAX = 1500
TEXT_MAX = 20_000
"""Of the table; Prefect shows an artifact's description as Markdown (3.9.1)."""
_last: set["asyncio.Task[None]"] = set()
"""What is being written of bakes that are over: asyncio itself keeps no task alive."""


class Progress:
    """Shows a bake while it is watched. Nothing waits for it: a server that is away or slow delays no verdict."""

    def __init__(self, report: Report | None) -> None:
        self._report = report
        self._artifact: UUID | None = None
        self._under_way: asyncio.Task[None] | None = None

    def of(self, verdicts: Sequence[Verdict], now_s: float, ends_s: float) -> None:
        """What was seen by ``now_s`` is being shown, unless the look before still is."""
        if self._report is not None and (self._under_way is None or self._under_way.done()):
            self._under_way = asyncio.ensure_future(self._show(self._report, verdicts, now_s, ends_s))

    async def end(self) -> None:
        """Nothing is being shown any more: what the release writes on its page next is not overwritten."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)

    def over(self, verdicts: Sequence[Verdict], now_s: float, ends_s: float) -> None:
        """The bake is over, and the artifact says why. It is written in the background: users come first."""
        if self._report is None or self._artifact is None or not verdicts:
            return
        worst, start_s = verdicts[0], self._report.lease.bake_start_s or now_s
        line = clean(f"Over. {worst.service}: {worst.explanation}", LINE_MAX)
        last = asyncio.ensure_future(self._last(self._report, done_percent(now_s, start_s, ends_s), line))
        _last.add(last)
        last.add_done_callback(_last.discard)

    async def _last(self, report: Report, percent: float, line: str) -> None:
        with contextlib.suppress(*PREFECT_AWAY, ObjectNotFound, TimeoutError):
            await asyncio.wait_for(self._progress(report, percent, line), PAGE_WAITS_S)

    async def _show(self, report: Report, verdicts: Sequence[Verdict], now_s: float, ends_s: float) -> None:
        start_s = report.lease.bake_start_s or now_s
        line = clean(bake_line(verdicts, now_s, ends_s), LINE_MAX)
        text = clean(bake_text(verdicts, now_s, ends_s), TEXT_MAX)
        try:
            await asyncio.wait_for(self._progress(report, done_percent(now_s, start_s, ends_s), text), PAGE_WAITS_S)
        except (*PREFECT_AWAY, ObjectNotFound, TimeoutError):
            return  # the next look shows it
        await show_page(report.judged(tuple(verdicts)), f"{report.lease.version}: {line}")

    async def _progress(self, report: Report, percent: float, text: str) -> None:
        if self._artifact is None:
            key = f"{report.key}-bake"
            self._artifact = await artifacts.acreate_progress_artifact(percent, key=key, description=text)
            return
        async with orchestration.get_client() as client:
            await client.update_artifact(self._artifact, ArtifactUpdate(data=percent, description=text))
