"""The real Prometheus: it scrapes its targets, is stopped, and starts again."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from rehearsal.world import prometheus as module
from rehearsal.world.prometheus import Prometheus, PrometheusFailedError, Target


async def query(prometheus: Prometheus, text: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    async with httpx.AsyncClient(base_url=prometheus.url, trust_env=False) as http:
        answer = await http.get("/api/v1/query", params={"query": text})
    return list(answer.json()["data"]["result"])


async def test_it_scrapes_and_keeps_its_data_across_a_stop(start_app: Any, eventually: Any, tmp_path: Path) -> None:
    """Samples have the target's labels; while it is stopped its port refuses; afterwards its data is still there."""
    app = await start_app()
    await app.statuses(7)
    prometheus = Prometheus(tmp_path, scrape_interval_s=0.5)
    await prometheus.start()
    try:
        labels = {"job": "backend", "revision": "r1"}
        prometheus.retarget([Target(app.address, labels)])
        counted = 'sum by (job, revision) (http_requests_total{status="200",handler!="/metrics"} > 0)'
        await eventually(lambda: query(prometheus, counted))
        (found,) = await query(prometheus, counted)
        assert found["metric"] == labels
        assert found["value"][1] == "7"
        url = prometheus.url
        prometheus.retarget([Target(app.address, {"job": "backend", "revision": "r2"})])
        await prometheus.away()
        await prometheus.away()
        with pytest.raises(httpx.ConnectError):
            await query(prometheus, "up")
        await prometheus.back()
        await prometheus.back()
        assert prometheus.url == url
        await eventually(lambda: query(prometheus, 'up{revision="r2"} == 1'))
        assert await query(prometheus, 'up{revision="r1"}[5m]')
    finally:
        await prometheus.stop()
    with pytest.raises(httpx.ConnectError):
        await query(prometheus, "up")


async def test_a_port_that_was_lost_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process took the port before Prometheus started: it starts on another one."""
    free_port: Callable[[], int] = module._free_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1]]
        monkeypatch.setattr(module, "_free_port", lambda: ports.pop() if ports else free_port())
        prometheus = Prometheus(tmp_path)
        await prometheus.start()
        assert await query(prometheus, "vector(1)")
        await prometheus.stop()


async def test_a_prometheus_that_cannot_start_gives_the_reason(tmp_path: Path) -> None:
    """The error holds the end of the program's own log."""
    (tmp_path / "data").write_text("a file where a folder is needed")
    with pytest.raises(PrometheusFailedError, match="data"):
        await Prometheus(tmp_path).start()
