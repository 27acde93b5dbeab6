"""Where the seconds of a told story went."""

from rehearsal.story import Tale

STAGES = (
    ("start of the run", ()),
    ("checks and build", ("check build", "checklist", "version in staging", "check telemetry")),
    ("staging and claim", ("look", "already live", "claim", "post to releases")),
    ("deploy at 0 %", ("deploy canary",)),
    ("smoke tests", ("smoke test", "check error ratio")),
    ("scrapes before users", ("wait for scrapes",)),
    ("shift", ("canary ", "note bake start")),
    ("bake", ("monitor",)),
    ("promote", ("promote",)),
    ("revert", ("revert",)),
    ("telling", ("page", "open ticket", "sentry release")),
    ("letting go", ("release claim", "start watch")),
)


def stages_table(tale: Tale) -> str:
    """Seconds by stage, staging's and production's together; a moment in which several ran counts once for each
    kind."""
    run = tale.run
    rows = [("start of the run", max(0.0, (run.started_at_s or run.created_at_s) - run.created_at_s))]
    for name, beginnings in STAGES[1:]:
        spans = sorted((s.started_at_s, s.ended_at_s) for s in tale.steps if s.name.startswith(beginnings))
        rows.append((name, _covered(spans)))
    total = (run.ended_at_s or run.created_at_s) - run.created_at_s
    bake = dict(rows)["bake"]
    lines = [f"  {name:22} {seconds:6.1f} s" for name, seconds in rows if seconds >= 0.05]
    lines.append(f"  {'beyond the bake':22} {total - bake:6.1f} s of {total:.1f} s")
    if (taken_over_s := tale.seconds["killed_to_taken_over"]) is not None:
        lines.append(f"  {'kill to taken over':22} {taken_over_s:6.1f} s")
    return "\n".join(lines)


def _covered(spans: list[tuple[float, float]]) -> float:
    """Seconds that at least one of the spans covers."""
    covered = reached = 0.0
    for begin, end in spans:
        covered += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return covered
