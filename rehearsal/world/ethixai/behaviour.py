"""How an instance behaves, from the comma-separated list in ``BEHAVIOUR``.

| item | meaning |
|---|---|
| ``healthy`` | nothing wrong |
| ``errors=0.05`` | an exact share of the requests is answered 500, evenly spread: every 20th |
| ``errors_after=30:0.05`` | the same from 30 s after the first user request on |
| ``slow=6.0``, ``slow=6.0@0.2`` | every request (or an exact share) takes 6 s |
| ``capacity=20`` | requests per second: work is done one after another, so a queue builds |
| ``crowded=9:6.0`` | while more than 9 requests/s come (over 3 s), each takes 6 s: more instances help at once |
| ``leak=8`` | MiB per second, really allocated and touched |
| ``burns=0.9`` | a share of ``CPU_LIMIT``, really burned |
| ``dies`` | exit code 1 at the start |
| ``never_ready`` | listens; liveness and readiness are 503 |
| ``patched`` | the hole (``/api/debug/users``) is closed: 403 instead of the users' addresses |
| ``read_only`` | a maintenance revision: reads are answered, writes get 503 and ``Retry-After`` |
| ``hangs=0.3`` | an exact share of the requests is never answered |
| ``resets=0.05`` | the answer of an exact share breaks off in its head; the application counts none |
| ``uncounted=0.05`` | an exact share is answered 500 by what lies around the counting: the application counts none |
| ``client_errors=0.2`` | an exact share is answered 401 |
| ``labels=code`` | the label of the counters in place of ``status``; ``labels=grpc``: ``grpc_code``, words |
| ``edges=0.1/0.5/1`` | the latency histogram ends its buckets there |
| ``workers=4`` | as many workers answer ``/metrics`` in turn, each with what it has counted itself |
| ``no_metrics`` | ``/metrics`` is 404 |
| ``smoke_fails`` | ready; whatever carries the header ``x-smoke-test`` is answered 500 |

``DEPENDENCY`` may name a file that represents a dependency of all revisions: while it exists, every fifth user request
fails, whichever revision answers it.

Smoke tests are affected by ``smoke_fails`` only: a canary that fails its users must first pass them.
"""

from collections import deque
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path

LATENCY_S = 0.003
DEPENDENCY_SHARE = Fraction(1, 5)
DEPENDENCY_LOOK_S = 0.2
CROWD_WINDOW_S = 3.0
FLAGS = ("healthy", "dies", "never_ready", "no_metrics", "patched", "read_only", "smoke_fails")


class BadBehaviour(ValueError):
    """``BEHAVIOUR`` has an item that is not in the table above."""


class Fate(Enum):
    """What happens to a request that is neither answered as usual nor failed by the application itself."""

    HANGS = "hangs"
    RESETS = "resets"
    UNCOUNTED = "uncounted"
    CLIENT_ERROR = "client_errors"


class Share:
    """An exact, evenly spread share of a sequence: of n calls ``floor(n * share)`` are taken. Not random."""

    def __init__(self, share: Fraction) -> None:
        self._share, self._seen, self._taken = share, 0, 0

    def take(self) -> bool:
        """Count one, and say whether it is in the share."""
        self._seen += 1
        due = self._seen * self._share.numerator // self._share.denominator
        taken = due > self._taken
        self._taken = due
        return taken


@dataclass(frozen=True)
class Settings:
    """What ``BEHAVIOUR`` says. Shares are 0–1, times in seconds; 0 means "not at all"."""

    flags: frozenset[str] = frozenset()
    errors: Fraction = Fraction(0)
    errors_after_s: float = 0.0
    slow_s: float = 0.0
    slow_share: Fraction = Fraction(1)
    capacity_per_s: float = 0.0
    crowd_per_s: float = 0.0
    crowded_s: float = 0.0
    leak_mib_per_s: float = 0.0
    burns: float = 0.0
    hangs: Fraction = Fraction(0)
    resets: Fraction = Fraction(0)
    uncounted: Fraction = Fraction(0)
    client_errors: Fraction = Fraction(0)
    labels: str = "status"
    edges_s: tuple[float, ...] = ()
    workers: int = 1


def parse(text: str) -> Settings:
    """The settings of a ``BEHAVIOUR``; an empty text is ``healthy``. Raises BadBehaviour."""
    fields: dict[str, object] = {}
    flags: set[str] = set()
    for item in filter(None, (part.strip() for part in text.split(","))):
        if item in FLAGS:
            flags.add(item)
            continue
        try:
            fields |= _fields(*item.split("=", 1))
        except (ValueError, TypeError, ZeroDivisionError):
            raise BadBehaviour(f"BEHAVIOUR: {item!r} is not a behaviour") from None
    return Settings(flags=frozenset(flags), **fields)  # type: ignore[arg-type]


def _fields(name: str, value: str) -> dict[str, object]:
    match name:
        case "errors":
            return {"errors": _share(value)}
        case "errors_after":
            after, share = value.split(":")
            return {"errors": _share(share), "errors_after_s": _positive(after)}
        case "slow":
            seconds, _, share = value.partition("@")
            return {"slow_s": _positive(seconds), "slow_share": _share(share or "1")}
        case "capacity":
            return {"capacity_per_s": _positive(value)}
        case "crowded":
            rate, seconds = value.split(":")
            return {"crowd_per_s": _positive(rate), "crowded_s": _positive(seconds)}
        case "leak":
            return {"leak_mib_per_s": _positive(value)}
        case "burns":
            return {"burns": float(_share(value))}
        case "hangs" | "resets" | "uncounted" | "client_errors":
            return {name: _share(value)}
        case "labels" if value.isidentifier():
            return {"labels": value}
        case "edges":
            return {"edges_s": tuple(sorted(map(_positive, value.split("/"))))}
        case "workers":
            return {"workers": int(_positive(value)) or 1}
    raise ValueError(name)


def _share(text: str) -> Fraction:
    share = Fraction(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise ValueError(text)
    return number


class Behaviour:
    """Decides, for each user request in the order they came, how long it takes and whether it fails."""

    def __init__(self, settings: Settings, dependency: Path | None = None) -> None:
        self.settings = settings
        self._dependency, self._is_down, self._looked_at = dependency, False, -DEPENDENCY_LOOK_S
        self._shared = Share(DEPENDENCY_SHARE)
        self._errors, self._slow = Share(settings.errors), Share(settings.slow_share)
        self._fates = {fate: Share(getattr(settings, fate.value)) for fate in Fate}
        self._first_user_at: float | None = None
        self._free_at = 0.0
        self._arrivals: deque[float] = deque()

    def delay_s(self, now: float, smoke: bool) -> float:
        """Seconds until the request that came at ``now`` (any monotonic clock) may be answered."""
        delay = LATENCY_S
        if self.settings.slow_s and not smoke and self._slow.take():
            delay = self.settings.slow_s
        if self.settings.crowd_per_s and not smoke and self._is_crowded(now):
            delay = self.settings.crowded_s
        if self.settings.capacity_per_s:
            self._free_at = max(now, self._free_at) + 1 / self.settings.capacity_per_s
            delay = max(delay, self._free_at - now)
        return delay

    def _is_crowded(self, now: float) -> bool:
        self._arrivals.append(now)
        while self._arrivals[0] < now - CROWD_WINDOW_S:
            self._arrivals.popleft()
        return len(self._arrivals) > self.settings.crowd_per_s * CROWD_WINDOW_S

    def fate(self, smoke: bool) -> Fate | None:
        """What else happens to it, if anything."""
        return None if smoke else next((fate for fate, share in self._fates.items() if share.take()), None)

    def fails(self, now: float, smoke: bool) -> bool:
        """Whether it is answered 500."""
        if smoke:
            return "smoke_fails" in self.settings.flags
        if self._first_user_at is None:
            self._first_user_at = now
        if self._dependency_is_down(now) and self._shared.take():
            return True
        return now - self._first_user_at >= self.settings.errors_after_s and self._errors.take()

    def _dependency_is_down(self, now: float) -> bool:
        if self._dependency and now - self._looked_at >= DEPENDENCY_LOOK_S:
            self._looked_at, self._is_down = now, self._dependency.exists()
        return self._is_down
