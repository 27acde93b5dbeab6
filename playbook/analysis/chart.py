"""The picture on a verdict's card: the canary's errors beside stable's, and the evidence, over a bake. SVG as text."""

import base64
import math
from collections.abc import Iterable, Sequence

from playbook.analysis.alignment import Round
from playbook.base import Frozen

BINS = 90
"""A picture shows so many moments at most; a bake of 15 minutes at 5 s has twice as many scrapes."""

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT = 64, 12
RED, GREY, BLUE, LINE = "#d1242f", "#6e7781", "#0969da", "#9a6700"
SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class Moment(Frozen):
    """What was seen between the moment before and ``at_s``, in seconds since the bake's start."""

    at_s: float
    canary: float | None = None  # 5xx / all requests, 0-1; None without a request
    stable: float | None = None
    evidence: float = 1.0  # the strongest e-value against the canary


def trace(rounds: Sequence[Round], strongest: Sequence[float], bake_start_s: float) -> tuple[Moment, ...]:
    """The rounds of a bake, and the strongest e-value after each, as at most `BINS` moments."""
    size = max(1, math.ceil(len(rounds) / BINS))
    bins = [slice(first, first + size) for first in range(0, len(rounds), size)]
    return tuple(_moment(rounds[one], max(strongest[one]), bake_start_s) for one in bins)


def _moment(rounds: Sequence[Round], strongest: float, bake_start_s: float) -> Moment:
    n, x = sum(one.n for one in rounds), sum(one.x for one in rounds)
    m, y = sum(one.m for one in rounds), sum(one.y for one in rounds)
    return Moment(
        at_s=rounds[-1].at_s - bake_start_s,
        canary=x / n if n else None,
        stable=y / m if m else None,
        evidence=strongest,
    )


def data_uri(svg: str) -> str:
    """The picture as it can stand in markdown: Prefect's UI strips an inline ``<svg>``."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def draw(service: str, moments: Sequence[Moment], line: float, needed: float) -> str:
    """Two panels over the same seconds. Above: error ratios and the ``line`` they must stay below. Below: the evidence
    and the odds ``needed`` to decide, on a logarithmic scale."""
    ratios = [ratio for one in moments for ratio in (one.canary, one.stable) if ratio is not None]
    top = _round_up(max([*ratios, 2 * line]))
    tens = math.ceil(math.log10(max([*(one.evidence for one in moments), needed])) + 0.1)
    seconds = max([one.at_s for one in moments] or [1.0])
    upper = _Panel(28, 130, seconds, top)
    lower = _Panel(200, 100, seconds, tens)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 18, f"{service}: share of failed requests", "start"),
        _text(WIDTH - 62, 18, "canary", "end", RED),
        _text(WIDTH - RIGHT, 18, "stable", "end", GREY),
        upper.frame((0.0, "0 %"), (top, f"{100 * top:.3g} %")),
        upper.level(line, f"{100 * line:.2g} %"),
        upper.path(((one.at_s, one.stable) for one in moments), GREY),
        upper.path(((one.at_s, one.canary) for one in moments), RED),
        _text(LEFT, 190, "evidence against the canary, as odds", "start"),
        lower.frame((0.0, "1"), (tens, "10" + str(tens).translate(SUPERSCRIPT))),
        lower.level(math.log10(needed), f"{needed:.0f}"),
        lower.path(((one.at_s, math.log10(max(one.evidence, 1.0))) for one in moments), BLUE),
        _text(LEFT, HEIGHT - 10, "0 s", "middle"),
        _text(WIDTH - RIGHT, HEIGHT - 10, f"{seconds:.0f} s of the bake", "end"),
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

    def frame(self, *labels: tuple[float, str]) -> str:
        """The rectangle, and words beside these values."""
        width = WIDTH - LEFT - RIGHT
        box = f'<rect x="{LEFT}" y="{self.y}" width="{width}" height="{self.height}" fill="none" stroke="#d0d7de"/>'
        return box + "".join(_text(LEFT - 6, self.at(0, value)[1] + 4, word, "end") for value, word in labels)

    def level(self, value: float, word: str) -> str:
        """A dashed line at ``value``: where the decision lies."""
        _, y = self.at(0, value)
        dashes = f'stroke="{LINE}" stroke-dasharray="5 4"'
        return f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" {dashes}/>' + _text(LEFT + 6, y - 4, word, "start", LINE)

    def path(self, values: Iterable[tuple[float, float | None]], colour: str) -> str:
        """A line through the values there are, with a gap where one is missing."""
        steps, pen = [], "M"
        for second, value in values:
            if value is None:
                pen = "M"
                continue
            x, y = self.at(second, value)
            steps.append(f"{pen}{x} {y}")
            pen = "L"
        return f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" stroke-width="2" stroke-linecap="round"/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#1f2328") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{words}</text>'
