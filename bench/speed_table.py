"""The table of `bench.release`, as Markdown, and the page that it is on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs" / "speed.md"
ROWS = (
    ("trigger to first act, a release", "hand first act", "ours first act"),
    ("trigger to first act, a rollback", "", "ours rollback act"),
    ("a release, beyond the bake", "hand release", "ours release"),
    ("all users to the new revisions, after the verdict", "hand promote", "ours promote"),
    ("a bad canary: verdict to all stable", "", "ours stable"),
    ('"roll back" to users back, commands only', "hand rollback", ""),
    ('"roll back" to users back, with its checks before', "hand rollback-checked", "ours rollback"),
    ('"roll back" to the end of the run', "", "ours rollback ends"),
)


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Seconds by number of services, by hand and ours; then what server and workers use."""
    counts = sorted(found, key=int)
    head = " | ".join(f"{count}, by hand | {count}, ours" for count in counts)
    lines = [f"| seconds, services: | {head} |", f"|---|{'---|---|' * len(counts)}"]
    for name, *keys in ROWS:
        cells = " | ".join(_seconds(found[count].get(key)) for count in counts for key in keys)
        lines.append(f"| {name} | {cells} |")
    measured = "; ".join(f"{count}: {found[count]['at']}, load {found[count]['load']}" for count in counts)
    return "\n".join([*lines, "", f"Measured (services: when, load of the machine): {measured}.", "", *_costs(found)])


def _costs(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    counts = [count for count in sorted(found, key=int) if "in a release" in found[count]]
    if not counts:
        return []
    one = found[counts[min(1, len(counts) - 1)]]
    lines = ["| process | at rest: cores | MB | releases and rollbacks: cores | MB at most |", "|---|---|---|---|---|"]
    for name, rest in one["at rest"].items():
        busy = one["in a release"].get(name, {})
        lines.append(
            f"| {name} | {rest['cores']:.2f} | {rest['mb']} | {busy.get('cores', 0):.2f} | {busy.get('mb', '')} |"
        )
    return lines


def _seconds(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else ""
