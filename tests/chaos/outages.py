"""A system that goes away at one call and stays away for longer than any step's patience; then it is back.

Prefect's server is left out: a run cannot outlive its own engine's server for so long, and what becomes of a run that
dies is the kills' to show.
"""

from collections.abc import Callable, Iterator

from cases import Case, recorded
from driver import Run, Stage, play
from faults import Fault
from invariants import broken
from plots import Plot
from wire import Call, Process

from playbook.errors import Transient

AWAY_S = 1200
"""Longer than a revert asks again (8 minutes), shorter than a message is kept for (half an hour)."""


def outages(plot: Plot, only: Callable[[Call], bool] = lambda call: True) -> Iterator[Case]:
    """Each system goes away at each call that the release makes to it."""
    calls, _ = recorded(plot)
    for call in (call for call in calls if call.system != "prefect" and only(call)):
        stage, run = play(lambda stage, call=call: _told(stage, plot, call))
        wrong = (*broken(stage, may_fail=(Transient,)), *plot.wrong(stage, run))
        yield Case(plot.name, "first", call, "away from here", plot.outcome(stage), stage.ended_s, wrong)


async def _told(stage: Stage, plot: Plot, first: Call) -> tuple[Stage, Run]:
    back_s = float("inf")

    def away(process: Process, call: Call) -> Fault | None:
        nonlocal back_s
        if call == first and process.name == "release 0" and back_s == float("inf"):
            back_s = stage.scene.now() + AWAY_S
        is_away = call.system == first.system and stage.scene.now() < back_s < float("inf")
        return Fault.UNAVAILABLE if is_away else None

    stage.scene.wire.faults.append(away)
    began_s = stage.scene.now()
    run = await plot.begin(stage, {})
    await stage.recover()  # while it is away
    await stage.until(lambda: stage.scene.now() >= back_s)
    await plot.follow(stage, run)
    await stage.catch_up()
    stage.ended_s = stage.scene.now() - began_s
    return stage, run
