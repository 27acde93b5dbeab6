"""The picture of a retrospective: how long each kind of step took, beside what it usually takes. SVG as text."""

from collections.abc import Mapping
from html import escape
from typing import NamedTuple

WIDTH, ROW, LEFT, RIGHT, TOP = 720, 26, 190, 70, 30
NAME_MAX = 28
STYLE = (
    ".bg{fill:#fff}.t{fill:#1f2328}.now{fill:#0969da}.usual{fill:#8c959f}"
    "@media(prefers-color-scheme:dark){.bg{fill:#161b22}.t{fill:#e6edf3}.now{fill:#58a6ff}.usual{fill:#6e7681}}"
)


class Bar(NamedTuple):
    """One kind of step: its seconds in this release, in words too, and its median before; None where there is none."""

    kind: str
    seconds: float
    words: str
    usual_s: float | None = None


def bars(found: Mapping[str, Bar]) -> str:
    """The bars one below the other: this release's, and a thinner one below for what is usual."""
    unit = max([1.0, *(one.seconds for one in found.values()), *(one.usual_s or 0.0 for one in found.values())])
    scale = (WIDTH - LEFT - RIGHT) / unit
    height = TOP + ROW * len(found) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12"><style>{STYLE}</style>',
        f'<rect class="bg" width="{WIDTH}" height="{height}" rx="6"/>',
        _text(LEFT, 18, "this release", "start", "now"),
        _text(LEFT + 90, 18, "usually", "start", "usual"),
    ]
    for row, one in enumerate(found.values()):
        y = TOP + ROW * row
        parts += [
            _text(LEFT - 8, y + 13, one.kind[:NAME_MAX], "end", "t"),
            f'<rect class="now" x="{LEFT}" y="{y}" width="{max(1.0, scale * one.seconds):.1f}" height="13"/>',
            _text(LEFT + round(scale * one.seconds) + 6, y + 11, one.words, "start", "t"),
        ]
        if one.usual_s is not None:
            width = max(1.0, scale * one.usual_s)
            parts.append(f'<rect class="usual" x="{LEFT}" y="{y + 14}" width="{width:.1f}" height="5"/>')
    return "\n".join([*parts, "</svg>"])


def _text(x: float, y: float, words: str, anchor: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
