"""What ``/metrics`` says, in Prometheus's text format 0.0.4. Job and revision are the target's labels, not ours."""

import os
import time
from bisect import bisect_left
from collections import Counter
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
    """Counts user requests. Health checks and scrapes are left out: they would thin the share of users that failed."""

    def __init__(
        self, cpu_limit: float, memory_limit_bytes: int, *, label: str = "status", edges_s: tuple[float, ...] = ()
    ) -> None:
        self._cpu_limit, self._memory_limit = cpu_limit, memory_limit_bytes
        self._label, self._edges_s = label, edges_s or EDGES_S
        self._requests = {(method, status): 0 for method in METHODS for status in USUAL}
        self._buckets = [0] * (len(self._edges_s) + 1)
        self._seconds = 0.0
        self._started = time.time()
        self._cpu_ratio = 0.0
        self._mark = (time.monotonic(), time.process_time())

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Count one request that took ``seconds``."""
        key = (method if method in METHODS else "OTHER", status)
        self._requests[key] = self._requests.get(key, 0) + 1
        self._buckets[bisect_left(self._edges_s, seconds)] += 1
        self._seconds += seconds

    def text(self) -> bytes:
        """The whole exposition."""
        cumulative = list(accumulate(self._buckets))
        resident = resident_bytes()
        lines = ["# HELP http_requests_total User requests.", "# TYPE http_requests_total counter"]
        lines += [
            f'http_requests_total{{method="{method}",{status}}} {count}' for (method, status), count in self._labelled()
        ]
        name = "http_request_duration_seconds"
        lines += [f"# HELP {name} Seconds from a request's arrival to its answer.", f"# TYPE {name} histogram"]
        lines += [
            f'{name}_bucket{{le="{edge}"}} {count}'
            for edge, count in zip((*(f"{edge:g}" for edge in self._edges_s), "+Inf"), cumulative, strict=True)
        ]
        lines += [f"{name}_sum {self._seconds:.6f}", f"{name}_count {cumulative[-1]}"]
        lines += _one("process_cpu_seconds_total", "counter", "CPU seconds used.", time.process_time())
        lines += _one("process_resident_memory_bytes", "gauge", "Resident memory.", resident)
        lines += _one("process_start_time_seconds", "gauge", "Start, unix seconds.", self._started)
        lines += _one("cpu_utilization_ratio", "gauge", "CPU used / limit, since the last scrape.", self._cpu())
        lines += _one("memory_utilization_ratio", "gauge", "Memory used / limit.", resident / self._memory_limit)
        return ("\n".join(lines) + "\n").encode()

    def _labelled(self) -> list[tuple[tuple[str, str], int]]:
        """(method, the label that says how it ended) -> requests."""
        if self._label != "grpc":
            return [((method, f'{self._label}="{status}"'), n) for (method, status), n in self._requests.items()]
        counts: Counter[tuple[str, str]] = Counter()
        for (method, status), count in self._requests.items():
            counts[method, f'grpc_code="{GRPC_WORDS.get(status, "Unknown")}"'] += count
        return list(counts.items())

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
