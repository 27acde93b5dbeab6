"""Where the seconds of a told story went."""

from rehearsal.scenario import ScenarioResult

Span = tuple[float, float]

STAGES: dict[str, tuple[str, ...]] = {
    "checks and build": ("check build", "checklist", "version in staging", "check telemetry", "check schema", "try "),
    "claim": (
        "look",
        "already live",
        "check free",
        "claim",
        "take over",
        "hand on",
        "begin rollback",
        "find revisions",
    ),
    "recovery": ("find claim", "owner of", "judge recovery", "mark ", "free orphan"),
    "deploy at 0 %": ("deploy canary", "introduce"),
    "smoke tests": ("smoke test", "exploit check", "check error ratio"),
    "scrapes before users": ("wait for scrapes",),
    "shift": ("canary ", "note on lead", "scale "),
    "bake": ("monitor", "probe "),
    "promote": ("promote", "check settled"),
    "revert": ("revert",),
    "measures": ("check maintenance revision", "read-only ", "restore "),
    "data": (
        *("plan", "undoing under way", "hold services", "stop writes", "prove that writes stop", "repoint", "halt"),
        *("start writes", "drain", "dry run", "undo ", "verify", "take ", "still applied", "find backup"),
        *("where writes are off", "count what would be lost", "start restore", "follow restore", "store"),
    ),
    "telling": (
        *("post to", "page", "open ticket", "resolve", "mark deployed", "report: ", "second look", "form of"),
        *("error signatures", "open incidents", "note incident"),
    ),
    "letting go": ("release claim", "end watch", "start "),
}
"""row -> how the names of its steps begin; the longest beginning that fits decides."""
START, BETWEEN = "start of the run", "between steps"


def stage_of(step: str) -> str:
    """The row that a step of this name falls in; `BETWEEN` where no row names it."""
    fits = [(len(start), name) for name, starts in STAGES.items() for start in starts if step.startswith(start)]
    return max(fits)[1] if fits else BETWEEN


def stages(result: ScenarioResult) -> dict[str, float]:
    """Seconds by stage, staging's and production's together, from the request to the end of the last run.

    A moment in which steps of several stages ran is the first one's of them; one in which none ran lies between steps.
    So the rows add up.
    """
    began_s, ended_s = result.run.created_at_s, result.ended_at_s
    started_s = min(max(result.run.started_at_s or began_s, began_s), ended_s)
    rows, taken = {START: started_s - began_s}, [(began_s, started_s)]
    for name in STAGES:
        before_s = _covered(taken)
        steps = (step for step in result.steps if stage_of(step.name) == name)
        taken += [(max(s.started_at_s, began_s), min(s.ended_at_s, ended_s)) for s in steps]
        rows[name] = _covered(taken) - before_s
    rows[BETWEEN] = ended_s - began_s - _covered(taken)
    return rows


def stages_table(result: ScenarioResult) -> str:
    """`stages` for people, with what lies beyond the bake, and how long a killed release was nobody's."""
    rows = stages(result)
    total = sum(rows.values())
    lines = [f"  {name:22} {seconds:6.1f} s" for name, seconds in rows.items() if seconds >= 0.05]
    lines.append(f"  {'beyond the bake':22} {total - rows['bake']:6.1f} s of {total:.1f} s")
    if (taken_over_s := result.seconds["killed_to_taken_over"]) is not None:
        lines.append(f"  {'kill to taken over':22} {taken_over_s:6.1f} s")
    return "\n".join(lines)


def _covered(spans: list[Span]) -> float:
    """Seconds that at least one of the spans covers."""
    covered = reached = 0.0
    for begin, end in sorted(spans):
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
