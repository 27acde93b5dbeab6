"""The phases of a release: printed while a scenario runs, and how many seconds each of them took."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rehearsal.prefect_api import Step
from rehearsal.scenario import ScenarioResult
from rehearsal.test_environment import STAGING

Span = tuple[float, float]

PHASES: dict[str, tuple[str, ...]] = {
    "checks and build": (
        *("check ", "checklist", "version in staging", "try ", "signing key"),
        *("changes since what serves", "list revisions", "drift", "forecast"),
    ),
    "lease": (
        "look",
        "already live",
        "check free",
        "acquire",
        "take over",
        "hand on",
        "find revisions",
        "find own lease",
    ),
    "recovery": (
        *("find lease", "owner of", "judge recovery", "mark ", "free orphan", "pause of", "hold while paused"),
        "say what became of",
    ),
    "deploy at 0 %": ("deploy canary", "introduce"),
    "smoke tests": ("smoke test", "exploit check", "check error ratio"),
    "wait for metrics": ("wait for scrapes", "check metrics"),
    "shift traffic": ("canary ", "save lease", "scale "),
    "bake": ("monitor", "probe "),
    "promote": ("promote", "check settled"),
    "revert": ("revert", "move users of"),
    "mitigation": ("check maintenance revision", "read-only ", "restore "),
    "database": (
        *("plan", "undoing under way", "plan lease", "stop writes", "prove that writes stop", "repoint", "halt"),
        *("start writes", "drain", "dry run", "undo ", "verify", "take ", "still applied", "find backup"),
        *(
            "where writes are off",
            "count what would be lost",
            "count losses",
            "start restore",
            "follow restore",
            "store",
        ),
    ),
    "messages": (
        *("post to", "page", "open ticket", "resolve", "mark deployed", "report: ", "second look", "form of"),
        *("error signatures", "open incidents", "note incident", "keep page", "read runs", "read steps"),
        *("record deployment", "keep records", "read error ratio"),
    ),
    "release the lease": ("release lease", "end migration", "end at ", "end watch", "start "),
}
"""phase -> how the names of its steps begin; the longest matching beginning decides"""
START, BETWEEN = "start of the run", "between steps"


def phase_of(step: str) -> str:
    """The phase of a step with this name; `BETWEEN` where no phase lists it."""
    fits = [(len(start), name) for name, starts in PHASES.items() for start in starts if step.startswith(start)]
    return max(fits)[1] if fits else BETWEEN


class PhasePrinter:
    """Prints steps as they end, with a heading wherever the environment or the phase changes."""

    def __init__(self, say: Callable[[str], None], began_s: float) -> None:
        self._say, self._began_s = say, began_s
        self._shown: set[tuple[str, float]] = set()
        self._heading = ""

    def has_news(self, steps: Iterable[Step]) -> bool:
        """Whether `show` would print something."""
        return any((step.name, step.started_at_s) not in self._shown for step in steps)

    def show(self, steps: Iterable[Step], writes: Sequence[dict[str, Any]]) -> None:
        """Print the steps that were not printed before. The environment comes from ``writes``."""
        new = [step for step in steps if (step.name, step.started_at_s) not in self._shown]
        for step in sorted(new, key=lambda step: step.ended_at_s):
            self._shown.add((step.name, step.started_at_s))
            phase = phase_of(step.name)
            if phase == "messages":
                continue
            heading = f"{environment_of(step, writes)}, {phase}"
            if heading != self._heading:
                self._say(f"  {heading}")
                self._heading = heading
            took_s = step.ended_at_s - step.started_at_s
            self._say(f"    +{step.ended_at_s - self._began_s:6.1f} s  {step.name}: {step.state} in {took_s:.1f} s")


BAR = 20
BAR_EVERY_S = 10.0
"""Between two lines about a bake where the output is no terminal."""


class BakePrinter:
    """Shows how far a bake is: one line that is written over on a terminal, a line now and then elsewhere."""

    def __init__(self, say: Callable[[str], None], *, is_terminal: bool) -> None:
        self._say, self._is_terminal = say, is_terminal
        self._shown: tuple[float, str] | None = None
        self._said_at_s = -BAR_EVERY_S

    def show(self, bake: tuple[float, str] | None, now_s: float) -> None:
        """Print where the bake is, if that is new."""
        if bake is None or bake == self._shown:
            return
        self._shown, (percent, seen) = bake, bake
        line = f"    bake [{'#' * int(percent * BAR / 100):.<{BAR}}] {percent:3.0f} %  {seen}"
        if self._is_terminal:
            print(f"\r\033[K{line[:TERMINAL]}", end="", flush=True)
        elif now_s - self._said_at_s >= BAR_EVERY_S:
            self._said_at_s = now_s
            self._say(line)

    def end(self) -> None:
        """The next line begins on its own."""
        if self._is_terminal and self._shown:
            print(flush=True)
            self._shown = None


TERMINAL = 118


def environment_of(step: Step, writes: Iterable[dict[str, Any]]) -> str:
    """As the step's name says; else staging between the first and the last write to its services, then production."""
    for name in ("staging", "production"):
        if step.name.endswith((f" in {name}", f"({name})")):
            return name
    staged = [write["at"] for write in writes if f"/{STAGING}/" in write["resource"]]
    return "staging" if staged and min(staged) <= step.ended_at_s <= max(staged) else "production"


def phases(result: ScenarioResult) -> dict[str, float]:
    """Seconds by phase, staging and production together, from the request to the end of the last run.

    A moment in which steps of several phases ran counts for the first of these phases; a moment without any step
    counts as `BETWEEN`. So the rows add up.
    """
    began_s, ended_s = result.run.created_at_s, result.ended_at_s
    started_s = min(max(result.run.started_at_s or began_s, began_s), ended_s)
    rows, taken = {START: started_s - began_s}, [(began_s, started_s)]
    for name in PHASES:
        before_s = _covered(taken)
        steps = (step for step in result.steps if phase_of(step.name) == name)
        taken += [(max(s.started_at_s, began_s), min(s.ended_at_s, ended_s)) for s in steps]
        rows[name] = _covered(taken) - before_s
    rows[BETWEEN] = ended_s - began_s - _covered(taken)
    return rows


def phases_table(result: ScenarioResult) -> str:
    """`phases` as text, with the seconds outside the bake and, after a kill, the seconds until the take-over."""
    rows = phases(result)
    total = sum(rows.values())
    lines = [f"  {name:22} {seconds:6.1f} s" for name, seconds in rows.items() if seconds >= 0.05]
    lines.append(f"  {'outside the bake':22} {total - rows['bake']:6.1f} s of {total:.1f} s")
    if (taken_over_s := result.seconds["killed_to_taken_over"]) is not None:
        lines.append(f"  {'kill to take-over':22} {taken_over_s:6.1f} s")
    return "\n".join(lines)


def _covered(spans: list[Span]) -> float:
    """Seconds that at least one of the spans covers."""
    covered = reached = 0.0
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
