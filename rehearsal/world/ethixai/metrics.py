"""What ``/metrics`` says, in Prometheus's text format 0.0.4. Job and revision are the target's labels, not ours."""

import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
EDGES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
METHODS = ("GET", "POST", "DELETE")
USUAL = (200, 201, 204, 400, 401, 404, 500, 503)
"""Each of these counters exists from the start: a counter that first appears at 40 shows no increase."""
GRPC_WORDS = {
    200: "OK",
    201: "OK",
    204: "OK",
    400: "InvalidArgument",
    401: "Unauthenticated",
    403: "PermissionDenied",
    404: "NotFound",
    500: "Internal",
    503: "Unavailable",
}
"""Status -> the code that a gRPC server says in its place."""
CPU_WINDOW_S = 0.5
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Metrics:
    """Counts every request by its route, health checks and scrapes too, as the usual middlewares do.

    ``routes`` are (route, method) that are counted from zero.
    """

    def __init__(
        self,
        cpu_limit: float,
        memory_limit_bytes: int,
        routes: Iterable[tuple[str, str]] = (),
        *,
        label: str = "status",
        edges_s: tuple[float, ...] = (),
    ) -> None:
        self._cpu_limit, self._memory_limit = cpu_limit, memory_limit_bytes
        self._label, self._edges_s = label, edges_s or EDGES_S
        self._requests = {(route, method, status): 0 for route, method in routes for status in USUAL}
        self._buckets = {route: [0] * (len(self._edges_s) + 1) for route, _, _ in self._requests}
        self._seconds = dict.fromkeys(self._buckets, 0.0)
        self._started = time.time()
        self._cpu_ratio = 0.0
        self._mark = (time.monotonic(), time.process_time())

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request that took ``seconds``."""
        key = (route, method if method in METHODS else "OTHER", status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._buckets.setdefault(route, [0] * (len(self._edges_s) + 1))[bisect_left(self._edges_s, seconds)] += 1
        self._seconds[route] = self._seconds.get(route, 0.0) + seconds

    def text(self) -> bytes:
        """The whole exposition."""
        resident = resident_bytes()
        lines = ["# HELP http_requests_total Requests.", "# TYPE http_requests_total counter"]
        lines += [f"http_requests_total{{{labels}}} {count}" for labels, count in self._labelled().items()]
        name = "http_request_duration_seconds"
        lines += [f"# HELP {name} Seconds from a request's arrival to its answer.", f"# TYPE {name} histogram"]
        for route, buckets in self._buckets.items():
            cumulative = list(accumulate(buckets))
            lines += [
                f'{name}_bucket{{handler="{route}",le="{edge}"}} {count}'
                for edge, count in zip((*(f"{edge:g}" for edge in self._edges_s), "+Inf"), cumulative, strict=True)
            ]
            lines += [f'{name}_sum{{handler="{route}"}} {self._seconds[route]:.6f}']
            lines += [f'{name}_count{{handler="{route}"}} {cumulative[-1]}']
        lines += _one("process_cpu_seconds_total", "counter", "CPU seconds used.", time.process_time())
        lines += _one("process_resident_memory_bytes", "gauge", "Resident memory.", resident)
        lines += _one("process_start_time_seconds", "gauge", "Start, unix seconds.", self._started)
        lines += _one("cpu_utilization_ratio", "gauge", "CPU used / limit, since the last scrape.", self._cpu())
        lines += _one("memory_utilization_ratio", "gauge", "Memory used / limit.", resident / self._memory_limit)
        return ("\n".join(lines) + "\n").encode()

    def _labelled(self) -> Counter[str]:
        """Labels, one of which says how it ended -> requests."""
        counts: Counter[str] = Counter()
        for (route, method, status), count in self._requests.items():
            word = GRPC_WORDS.get(status, "Unknown") if self._label == "grpc" else status
            label = "grpc_code" if self._label == "grpc" else self._label
            counts[f'handler="{route}",method="{method}",{label}="{word}"'] += count
        return counts

    def _cpu(self) -> float:
        """CPU used over the time since it was last asked (at least `CPU_WINDOW_S` ago), over the limit."""
        (then, used_then), now, used = self._mark, time.monotonic(), time.process_time()
        if now - then >= CPU_WINDOW_S:
            self._cpu_ratio = min(1.0, (used - used_then) / (now - then) / self._cpu_limit)
            self._mark = (now, used)
        return self._cpu_ratio


def _one(name: str, kind: str, words: str, value: float) -> list[str]:
    return [f"# HELP {name} {words}", f"# TYPE {name} {kind}", f"{name} {value:.6f}"]


def resident_bytes() -> int:
    """The resident set of this process; 0 where the kernel does not say (no ``/proc``)."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * PAGE_BYTES
    except OSError:
        return 0
