"""What goes wrong outside, one call at a time, and for good where nothing that is served depends on it."""

import pytest
from cases import faults, recorded
from driver import Run, TestEnvironment, play
from faults import Fault
from fixture import NEW, SERVICES
from outages import outages
from scenarios import BREACH, HEALTHY, MARGINAL, MARGINAL_PROMOTED, Release
from wire import Call

EVERY = 149
FAR = 31


@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_one_fault_changes_nothing_but_the_time(scenario: Release) -> None:
    """Whichever fault one call gets, users end on one healthy revision, and each message is sent once."""
    chosen = {call.n for call in recorded(scenario)[0][1::EVERY]}
    for case in faults(scenario, lambda call: call.n in chosen):
        assert not case.wrong, f"{case.call}, {case.moment}"


def test_whatever_answers_the_proof_of_conditional_writes_no_lease_stays() -> None:
    """The stale write after acquiring is refused, lost or slow: the release goes on, or it is not started."""
    for case in faults(HEALTHY, lambda call: call.method == "stale write"):
        assert not case.wrong, f"{case.call}, {case.moment}"


def test_a_revert_that_the_coordinator_refuses_is_finished_as_one() -> None:
    """Its permission is gone for one call. The others are back, and recovery does not take that for another person's
    doing: it tells of a revert, with its ticket."""
    for case in faults(
        BREACH,
        lambda call: call.subject.startswith("production/ethixai-ai-core") and call.subject.endswith("REVERT"),
    ):
        assert not case.wrong, f"{case.call}, {case.moment}"


@pytest.mark.parametrize("scenario", [MARGINAL, MARGINAL_PROMOTED], ids=lambda scenario: scenario.name)
def test_a_gate_is_opened_again_after_prefect_was_unavailable(scenario: Release) -> None:
    """Prefect is unavailable when the gate opens or closes: it is opened again, and answer or deadline counts."""
    for case in faults(
        scenario, lambda call: call.system == "prefect" and call.method in ("pause", "unpause", "resume")
    ):
        assert not case.wrong, f"{case.call}, {case.moment}"


@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_messages_are_sent_later_when_all_vendors_are_unavailable(scenario: Release) -> None:
    """All vendors are unavailable during the release: its outcome is the same, and each message is sent once later."""

    async def played(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {SERVICES[1]: scenario.backend})
        vendors = ("slack", "pagerduty", "sentry")
        back_s = test_env.fixture.now() + 300

        def away(_: object, call: Call) -> Fault | None:
            is_away = call.system in vendors and test_env.fixture.now() < back_s and call.method != "on_call"
            return Fault.UNAVAILABLE if is_away else None

        test_env.fixture.wire.faults.append(away)
        run = await test_env.release()
        assert test_env.fixture.now() < back_s
        await test_env.catch_up()
        return test_env, run

    test_env, run = play(played)
    assert run.end == ("Promoted" if scenario.is_good else "Reverted")
    last = "complete" if scenario.is_good else "rolled-back"
    assert test_env.fixture.slack.keys.count("starting") == test_env.fixture.slack.keys.count(last) == 1
    assert len(test_env.fixture.pagerduty.incidents) == (0 if scenario.is_good else 1)


@pytest.mark.parametrize("system", ["prometheus", "prefect"])
def test_a_while_without_telemetry_or_server_is_survived(system: str) -> None:
    """It is unavailable from the traffic shift on, for longer than one retry sequence; the release is promoted."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(SERVICES[2]))
        back_s = test_env.fixture.now() + 5
        test_env.fixture.wire.faults.append(
            lambda _, call: Fault.UNAVAILABLE if call.system == system and test_env.fixture.now() < back_s else None
        )
        await test_env.ended(run)
        return run

    assert play(scenario).end == "Promoted"


@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_a_system_that_stays_away_changes_nothing_but_the_end(scenario: Release) -> None:
    """From any call on, for 20 minutes: users end on one healthy revision, and each message is sent once."""
    chosen = {call.n for call in recorded(scenario)[0][5::FAR]}
    for case in outages(scenario, lambda call: call.n in chosen):
        assert not case.wrong, f"{case.call}, {case.moment}"
