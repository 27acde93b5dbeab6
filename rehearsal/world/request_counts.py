"""Cloud Run's own request counts, as Managed Service for Prometheus answers them.

They are counted where Google counts them: at the front, for each revision, whatever the application counts. A request
that an instance did not answer is a 5xx here. They carry no label of an instance, they are sampled rarely, and they
become visible late.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from rehearsal.world.cloud_run.state import ServiceName

METRIC = "run_googleapis_com:request_count"
KEPT = 1000
LOOK_S = 0.2


class Counted(NamedTuple):
    """What is counted together: a service's full name, a revision, and "2xx" or another class."""

    service: str
    revision: str
    code_class: str


class RequestCounts:
    """Samples of what the front counted, since the world began.

    ``interval_s`` lies between two samples and ``delay_s`` before one is visible: Cloud Run's are 60 and up to 180,
    and a rehearsal's clock runs 15 times faster.
    """

    def __init__(self, read: Callable[[], Awaitable[Mapping[Counted, int]]]) -> None:
        self._read = read
        self.interval_s, self.delay_s = 4.0, 4.0
        self._last: Counter[Counted] = Counter()
        self._total: Counter[Counted] = Counter()
        self._samples: deque[tuple[float, dict[Counted, int]]] = deque(maxlen=KEPT)
        self.app = Starlette(routes=[Route("/metrics", self._metrics)])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Samples are taken within the block."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self.add(await self._read(), time.time())

    def add(self, found: Mapping[Counted, int], now_s: float) -> None:
        """Take in the front's counts of now; one that fell has begun again."""
        for key, count in found.items():
            self._total[key] += count - self._last[key] if count >= self._last[key] else count
        self._last = Counter(found)
        if not self._samples or now_s - self._samples[-1][0] >= self.interval_s:
            self._samples.append((now_s, dict(self._total)))

    def text(self, now_s: float) -> str:
        """The newest sample that is visible, with its own time. A class without a request has no series."""
        visible = [sample for sample in self._samples if sample[0] <= now_s - self.delay_s]
        if not visible:
            return ""
        at_s, counts = visible[-1]
        lines = [f"# TYPE {METRIC} counter"]
        lines += [f"{METRIC}{{{_labels(key)}}} {n} {int(at_s * 1000)}" for key, n in sorted(counts.items()) if n]
        return "\n".join(lines) + "\n"

    async def _metrics(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(self.text(time.time()), media_type="text/plain; version=0.0.4")


def _labels(key: Counted) -> str:
    name = ServiceName.parse(key.service)
    assert name
    labels = {
        "monitored_resource": "cloud_run_revision",
        "project_id": name.project,
        "location": name.location,
        "service_name": name.service,
        "configuration_name": name.service,
        "revision_name": key.revision,
        "response_code_class": key.code_class,
    }
    return ",".join(f'{label}="{value}"' for label, value in labels.items())
