"""The real Prometheus, with changeable targets; it can be stopped, and started again with its data."""

import asyncio
import json
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rehearsal.world import child

READY_POLL_S = 0.05
READY_WITHIN_S = 20.0
PORTS_TRIED = 5
STOP_WITHIN_S = 5.0


@dataclass(frozen=True)
class Target:
    """One ``host:port`` whose ``/metrics`` is scraped, and the labels its series get (``job``, ``revision``, ...)."""

    address: str
    labels: Mapping[str, str] = field(default_factory=dict)


class PrometheusFailedError(RuntimeError):
    """The program ended or did not become ready; the message holds the end of its log."""


class Prometheus:
    """One ``prometheus`` process with its data under ``folder``.

    A new target is scraped within about 6 s: file discovery sees it at once, but Prometheus passes on what was
    discovered every 5 s only (measured 1.9 to 5.5 s), which no flag changes. A target that is taken away goes as late,
    and after a return the scrapes go on as late.
    """

    def __init__(self, folder: Path, scrape_interval_s: float = 1.0) -> None:
        self._folder, self._scrape_interval_s = folder, scrape_interval_s
        self.cloud_monitoring = ""
        """``host:port`` of metrics that Cloud Monitoring would have; to be set before the start."""
        self.alerts: Mapping[str, str] = {}
        """Alerting rules, evaluated each second: name -> expression; to be set before the start."""
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where its HTTP API is; the same after it was away."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """It answers queries and scrapes nothing yet. Raises PrometheusFailedError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self.retarget([])
        (self._folder / "prometheus.yml").write_text(json.dumps(self._configuration(), indent=2))
        for attempt in range(1, PORTS_TRIED + 1):
            self._port = _free_port()
            try:
                await self._run()
                break
            except PrometheusFailedError as failed:
                if "address already in use" not in str(failed) or attempt == PORTS_TRIED:
                    raise

    def retarget(self, targets: Iterable[Target]) -> None:
        """Scrape exactly these targets from now on. The file is replaced as a whole: it is never read half-written."""
        groups = [{"targets": [target.address], "labels": dict(target.labels)} for target in targets]
        draft = self._folder / "targets.json.new"
        draft.write_text(json.dumps(groups, indent=2))
        os.replace(draft, self._folder / "targets.json")

    async def away(self) -> None:
        """Stop it as if its machine had lost power: connections are refused. Does nothing if it is stopped."""
        if self._process and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def back(self) -> None:
        """Start it again on the same port with the same data, which has a gap. Does nothing if it is running."""
        if self._process is None or self._process.returncode is not None:
            await self._run()

    async def stop(self) -> None:
        """The process has ended."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_WITHIN_S)
        except TimeoutError:
            await self.away()

    def _configuration(self) -> dict[str, object]:
        """JSON is YAML."""
        interval = f"{int(self._scrape_interval_s * 1000)}ms"
        discovery = [{"files": ["targets.json"], "refresh_interval": "1s"}]
        jobs: list[dict[str, object]] = [{"job_name": "instances", "file_sd_configs": discovery}]
        if self.cloud_monitoring:
            targets = [{"targets": [self.cloud_monitoring]}]
            bare = [{"action": "labeldrop", "regex": "job|instance"}]  # these metrics are not scraped there
            jobs.append({"job_name": "cloud-monitoring", "static_configs": targets, "metric_relabel_configs": bare})
        rules = [{"alert": name, "expr": expression} for name, expression in self.alerts.items()]
        groups = [{"name": "alerts", "interval": "1s", "rules": rules}] if rules else []
        (self._folder / "rules.json").write_text(json.dumps({"groups": groups}))
        return {
            "global": {"scrape_interval": interval, "scrape_timeout": interval},
            "rule_files": ["rules.json"],
            "scrape_configs": jobs,
        }

    async def _run(self) -> None:
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *child.command(
                    "prometheus",
                    f"--config.file={self._folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self._folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self._port}",
                    "--log.level=warn",
                ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            await asyncio.wait_for(self._ready(), READY_WITHIN_S)
        except TimeoutError:
            await self.away()
            raise PrometheusFailedError(f"prometheus was not ready in {READY_WITHIN_S} s: {self._log()}") from None

    async def _ready(self) -> None:
        """Our own process answers. Raises PrometheusFailedError when it ends first."""
        assert self._process
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while True:
                asked = asyncio.ensure_future(self._is_ready())
                await asyncio.wait([asked, ended], return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    asked.cancel()
                    raise PrometheusFailedError(f"prometheus ended with {ended.result()}: {self._log()}")
                if asked.result():
                    return
                await asyncio.sleep(READY_POLL_S)
        finally:
            ended.cancel()

    async def _is_ready(self) -> bool:
        """Whether the process that listens at the port is a Prometheus with our data folder."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            return False
        try:
            writer.write(b"GET /api/v1/status/flags HTTP/1.0\r\n\r\n")
            return str(self._folder / "data").encode() in await reader.read()
        except OSError:
            return False
        finally:
            writer.close()

    def _log(self) -> str:
        return (self._folder / "prometheus.log").read_text(errors="replace")[-2000:].strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
