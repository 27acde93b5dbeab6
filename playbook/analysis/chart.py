"""The picture of a bake: the canary's errors and slow requests beside stable's, and the limits. SVG as text."""

import base64
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from playbook.analysis.alignment import Round
from playbook.base import Frozen

BINS = 90  # a picture shows so many moments at most; a bake of 15 minutes at 5 s has twice as many scrapes

WIDTH, HEIGHT = 720, 268
LEFT, RIGHT = 64, 12
STYLE = (
    ".bg{fill:#fff}.t{fill:#1f2328}.box{stroke:#d0d7de}.canary{stroke:#cf222e}.stable{stroke:#57606a}"
    ".limit{stroke:#9a6700}.tcanary{fill:#cf222e}.tstable{fill:#57606a}.tlimit{fill:#9a6700}"
    "@media(prefers-color-scheme:dark){.bg{fill:#161b22}.t{fill:#e6edf3}.box{stroke:#484f58}.canary{stroke:#ff7b72}"
    ".stable{stroke:#b1bac4}.limit{stroke:#e3b341}.tcanary{fill:#ff7b72}.tstable{fill:#b1bac4}.tlimit{fill:#e3b341}}"
)
"""Light and dark, on a background of its own: readable whichever the page around it is."""


class Moment(Frozen):
    """What was seen between the moment before and ``at_s``, in seconds since the bake's start."""

    at_s: float
    canary: float | None = None  # 5xx / all requests, 0-1; None without a request
    stable: float | None = None
    evidence: float = 1.0  # the strongest e-value against the canary
    canary_slow: float | None = None  # surely slower than p95_max_s / timed requests, 0-1; None without one
    stable_slow: float | None = None


def trace(rounds: Sequence[Round], strongest: Sequence[float], bake_start_s: float) -> tuple[Moment, ...]:
    """The rounds of a bake, and the strongest e-value after each, as at most `BINS` moments."""
    size = max(1, math.ceil(len(rounds) / BINS))
    bins = [slice(first, first + size) for first in range(0, len(rounds), size)]
    return tuple(_moment(rounds[one], max(strongest[one]), bake_start_s) for one in bins)


def _moment(rounds: Sequence[Round], strongest: float, bake_start_s: float) -> Moment:
    def ratio(bad: str, every: str) -> float | None:
        n, x = (sum(getattr(one, name) for one in rounds) for name in (every, bad))
        return x / n if n else None

    return Moment(
        at_s=rounds[-1].at_s - bake_start_s,
        canary=ratio("x", "n"),
        stable=ratio("y", "m"),
        evidence=strongest,
        canary_slow=ratio("slow", "timed"),
        stable_slow=ratio("stable_slow", "stable_timed"),
    )


class Curves(NamedTuple):
    """One panel: what it shows, canary and stable over time, and the limit. Ratios 0 to 1."""

    title: str
    canary: Sequence[float | None]
    stable: Sequence[float | None]
    limit: float


def data_uri(svg: str) -> str:
    """The picture as it can stand in markdown: Prefect's UI strips an inline ``<svg>``."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def curves(moments: Sequence[Moment], errors_max: float, slow_max: float, slow_name: str) -> tuple[Curves, Curves]:
    """The two panels of a bake: errors, and slow requests. ``slow_name`` says what counts as slow."""
    return (
        Curves("failed requests", [one.canary for one in moments], [one.stable for one in moments], errors_max),
        Curves(slow_name, [one.canary_slow for one in moments], [one.stable_slow for one in moments], slow_max),
    )


def draw(service: str, moments: Sequence[Moment], panels: Sequence[Curves]) -> str:
    """The panels one below the other, over the same seconds. ``service`` must be the name of a service."""
    seconds = max([one.at_s for one in moments] or [1.0])
    times = [one.at_s for one in moments]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="sans-serif" font-size="12"><style>{STYLE}</style>',
        f'<rect class="bg" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        _text(WIDTH - 62, 18, "canary", "end", "tcanary"),
        _text(WIDTH - RIGHT, 18, "stable", "end", "tstable"),
    ]
    for number, one in enumerate(panels):
        seen = (*one.canary, *one.stable, 2 * one.limit)
        panel = _Panel(28 + 116 * number, 88, seconds, _round_up(max(filter(None, seen))))
        parts += [
            _text(LEFT, panel.y - 10, f"{service}: {one.title}", "start", "t"),
            panel.frame(),
            panel.level(one.limit, f"limit {100 * one.limit:.2g} %"),
            panel.path(zip(times, one.stable, strict=True), "stable"),
            panel.path(zip(times, one.canary, strict=True), "canary"),
        ]
    parts += [
        _text(LEFT, HEIGHT - 8, "0 s", "middle", "t"),
        _text(WIDTH - RIGHT, HEIGHT - 8, f"{seconds:.0f} s of the bake", "end", "t"),
        "</svg>",
    ]
    return "\n".join(parts)


def _round_up(ratio: float) -> float:
    """The next of 1, 2, 5, 10 % … that is not below ``ratio``: 1 at most."""
    return next((step for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if ratio <= step), 1.0)


class _Panel:
    """A rectangle ``height`` high that shows 0 to ``seconds`` and 0 to ``top``."""

    def __init__(self, y: int, height: int, seconds: float, top: float) -> None:
        self.y, self.height, self.seconds, self.top = y, height, seconds, top

    def at(self, second: float, value: float) -> tuple[float, float]:
        """Where a value stands, in pixels."""
        x = LEFT + (WIDTH - LEFT - RIGHT) * second / self.seconds
        return round(x, 1), round(self.y + self.height * (1 - min(value, self.top) / self.top), 1)

    def frame(self) -> str:
        """The rectangle, and its lowest and highest value beside it."""
        width = WIDTH - LEFT - RIGHT
        box = f'<rect class="box" x="{LEFT}" y="{self.y}" width="{width}" height="{self.height}" fill="none"/>'
        labels = ((0.0, "0 %"), (self.top, f"{100 * self.top:.3g} %"))
        return box + "".join(_text(LEFT - 6, self.at(0, value)[1] + 4, word, "end", "t") for value, word in labels)

    def level(self, value: float, word: str) -> str:
        """A dashed line at ``value``: where the decision lies."""
        _, y = self.at(0, value)
        line = f'<path class="limit" d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke-dasharray="5 4"/>'
        return line + _text(LEFT + 6, y - 4, word, "start", "tlimit")

    def path(self, values: Iterable[tuple[float, float | None]], kind: str) -> str:
        """A line through the values there are, with a gap where one is missing."""
        steps, pen = [], "M"
        for second, value in values:
            if value is None:
                pen = "M"
                continue
            x, y = self.at(second, value)
            steps.append(f"{pen}{x} {y}")
            pen = "L"
        return f'<path class="{kind}" d="{"".join(steps)}" fill="none" stroke-width="2" stroke-linecap="round"/>'


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'
