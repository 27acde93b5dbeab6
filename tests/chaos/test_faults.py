"""What goes wrong outside, one call at a time, and for good where nothing that is served depends on it."""

import pytest
from cases import faults, recorded
from driver import Run, Stage, play
from faults import Fault
from outages import outages
from plots import BREACH, HEALTHY, MARGINAL, MARGINAL_PROMOTED, Release
from scene import NEW, SERVICES
from wire import Call

EVERY = 149
FAR = 31


@pytest.mark.parametrize("plot", [HEALTHY, BREACH], ids=lambda plot: plot.name)
def test_one_fault_changes_nothing_but_the_time(plot: Release) -> None:
    """Whatever one call meets, users end on one healthy revision and each fact is told once."""
    chosen = {call.n for call in recorded(plot)[0][1::EVERY]}
    for case in faults(plot, lambda call: call.n in chosen):
        assert not case.wrong, f"{case.call}, {case.moment}"


@pytest.mark.parametrize("plot", [MARGINAL, MARGINAL_PROMOTED], ids=lambda plot: plot.name)
def test_a_server_that_does_not_take_the_question_is_asked_again(plot: Release) -> None:
    """Prefect is away when the gate opens or closes: people are asked again, and it ends as they or the clock say."""
    for case in faults(plot, lambda call: call.system == "prefect" and call.method in ("pause", "unpause", "resume")):
        assert not case.wrong, f"{case.call}, {case.moment}"


@pytest.mark.parametrize("plot", [HEALTHY, BREACH], ids=lambda plot: plot.name)
def test_deaf_desks_hear_it_later(plot: Release) -> None:
    """With every desk away from the first word to the last, the release ends as ever; then all is told, once."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW, {SERVICES[1]: plot.backend})
        desks = ("slack", "pagerduty", "sentry")
        back_s = stage.scene.now() + 300

        def away(_: object, call: Call) -> Fault | None:
            is_away = call.system in desks and stage.scene.now() < back_s and call.method != "on_call"
            return Fault.UNAVAILABLE if is_away else None

        stage.scene.wire.faults.append(away)
        run = await stage.release()
        assert stage.scene.now() < back_s
        await stage.catch_up()
        return stage, run

    stage, run = play(story)
    assert run.end == ("Promoted" if plot.is_good else "Reverted")
    last = "complete" if plot.is_good else "rolled-back"
    assert stage.scene.slack.keys.count("starting") == stage.scene.slack.keys.count(last) == 1
    assert len(stage.scene.pagerduty.incidents) == (0 if plot.is_good else 1)


@pytest.mark.parametrize("system", ["prometheus", "prefect"])
def test_a_while_without_telemetry_or_server_is_survived(system: str) -> None:
    """It is away from the shift on, for longer than anybody keeps asking in one go; the release ends promoted."""

    async def story(stage: Stage) -> Run:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(stage.baking(SERVICES[2]))
        back_s = stage.scene.now() + 5
        stage.scene.wire.faults.append(
            lambda _, call: Fault.UNAVAILABLE if call.system == system and stage.scene.now() < back_s else None
        )
        await stage.ended(run)
        return run

    assert play(story).end == "Promoted"


@pytest.mark.parametrize("plot", [HEALTHY, BREACH], ids=lambda plot: plot.name)
def test_a_system_that_stays_away_changes_nothing_but_the_end(plot: Release) -> None:
    """From any call on, for twenty minutes: users are on one healthy revision once it is back, and all is told once."""
    chosen = {call.n for call in recorded(plot)[0][5::FAR]}
    for case in outages(plot, lambda call: call.n in chosen):
        assert not case.wrong, f"{case.call}, {case.moment}"
