"""Immediate actions on one service, and the way back."""

import asyncio
from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, flow_of, play
from fixture import NEW, OLD, SERVICES
from wire import Call, Process

from flows.mitigate import mitigate
from playbook.lease.record import MITIGATION
from playbook.release.request import Measure, MitigateRequest
from playbook.release.traffic import Scaling

_, BACKEND, _ = SERVICES
REQUEST = MitigateRequest(
    service=BACKEND, measure=Measure.SCALE, instances=13, reason="a flood of requests", requested_by="ada"
)


async def ask(test_env: TestEnvironment, **fields: Any) -> Run:
    """A measure, to its end."""
    run = test_env.start(mitigate, request=REQUEST.model_copy(update=fields), environment="production")
    await test_env.ended(run)
    return run


def test_a_service_is_scaled_and_restored() -> None:
    """Who and why stand on it meanwhile and are told; restore gives back what was and leaves no mark."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        backend = test_env.fixture.production.services[BACKEND]
        before = backend.scaling
        assert (await ask(test_env)).end == "Passed"
        assert backend.scaling.manual == 13
        assert "a flood of requests" in backend.annotations[MITIGATION]
        assert (await ask(test_env, measure=Measure.RESTORE, instances=None)).end == "Passed"
        assert (backend.scaling, MITIGATION in backend.annotations) == (before, False)
        return test_env

    words = play(scenario).fixture.slack.text
    assert f"PRODUCTION MITIGATED: scale {BACKEND}\nReason: a flood of requests (ada)" in words
    assert f"PRODUCTION RESTORED: restore {BACKEND}" in words


def test_a_restore_without_a_measure_says_that_there_is_nothing_to_restore() -> None:
    """No message calls it restored, nothing is written, and no watch begins. A restore that was done twice, too."""

    async def scenario(test_env: TestEnvironment) -> None:
        for _ in range(2):
            run = await ask(test_env, measure=Measure.RESTORE, instances=None)
            assert (run.end, f"nothing to restore: no measure is in force, and {BACKEND} serves" in run.message) == (
                "Passed",
                True,
            )
            assert "RESTORED" not in test_env.fixture.slack.text
            assert f"PRODUCTION HAS NOTHING TO RESTORE: {BACKEND}" in test_env.fixture.slack.text
            assert (test_env.fixture.production.writes, watches(test_env)) == ([], [])

    play(scenario)


@pytest.mark.parametrize("second", [{"instances": 5}, {"measure": Measure.RESTORE, "instances": None}])
@pytest.mark.parametrize("gap_s", [0.0, 0.1, 0.3])
def test_of_two_measures_at_once_the_later_stands_and_both_people_know(gap_s: float, second: dict[str, Any]) -> None:
    """Neither writes over the other again and again, and the one whose measure is gone is not told that nothing was
    touched, but what stands now, and whose it is."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await ask(test_env, instances=3)).end == "Passed"
        asked = [REQUEST, REQUEST.model_copy(update={"requested_by": "bob", "reason": "too many", **second})]
        first = test_env.start(mitigate, request=asked[0], environment="production")
        await asyncio.sleep(gap_s)
        other = test_env.start(mitigate, request=asked[1], environment="production")
        await test_env.ended(first, other)
        assert (first.end, other.end) == ("Refused", "Passed")
        scaling = test_env.fixture.production.services[BACKEND].scaling
        assert first.message.startswith(f"It was written, and replaced right after. {BACKEND}: ")
        assert f" 100 %, {scaling} now" in first.message
        if "instances" in second and second["instances"] and gap_s:
            assert "bob asked for scale (too many)" in first.message
        (told,) = [one.text for one in test_env.fixture.slack.said if "MITIGATION STOPPED (Refused)" in one.text]
        assert "nothing changed" not in told
        assert len(test_env.fixture.production.writes) == 3

    play(scenario)


def test_a_release_is_refused_before_staging_where_a_measure_stands() -> None:
    """It would be refused in the end: staging keeps what it has."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await ask(test_env)).end == "Passed"
        test_env.fixture.publish(NEW)
        run = await test_env.release()
        assert (run.end, "Start mitigate/… with restore first" in run.message) == ("Refused", True)
        assert set(test_env.fixture.versions_served("staging").values()) == {OLD}

    play(scenario)


def watches(test_env: TestEnvironment) -> list[Any]:
    """The watches that were asked for."""
    return [one for one in test_env.server.started.values() if one.deployment == "watch/production"]


def test_the_effect_of_a_measure_is_watched_and_told() -> None:
    """For the policy's time, in a run of its own: here all is well, and those who wait for it read so."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        assert (await ask(test_env)).end == "Passed"
        assert "Watch: its errors and latency are watched for" in test_env.fixture.slack.text
        await test_env.catch_up()
        return test_env

    test_env = play(scenario)
    assert [run.end for run in test_env.runs] == ["Passed", "Passed"]
    (told,) = [message for message in test_env.fixture.slack.said if message.key.endswith("/watched")]
    assert f"{BACKEND}: no alarm in the" in told.text
    assert "since it was scaled to 13 instances." in told.text
    assert test_env.fixture.pagerduty.incidents == {}
    assert len(test_env.fixture.production.writes) == 1


def test_a_measure_that_does_not_help_pages() -> None:
    """The service goes on failing: the page says since which measure, and offers the rollback form."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        backend = test_env.fixture.production.services[BACKEND]
        backend.revisions[backend.served.main].behaviour = Behaviour(errors=0.05)
        assert (await ask(test_env)).end == "Passed"
        await test_env.catch_up()
        return test_env

    test_env = play(scenario)
    assert [run.end for run in test_env.runs] == ["Passed", "Alarmed"]
    (page,) = test_env.fixture.pagerduty.incidents.values()
    assert f"{BACKEND} is bad since it was scaled to 13 instances: " in page.summary
    assert "by hand" not in str(page.details)
    assert len(test_env.fixture.production.writes) == 2, "the measure, and the note of the incident"


def test_a_restored_service_is_watched_and_a_stopped_one_is_not() -> None:
    """A stopped service has no requests, and the message says that nothing watches it."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await ask(test_env, instances=0)).end == "Passed"
        assert watches(test_env) == []
        assert "Watch: not watched: a service that is stopped has no requests." in test_env.fixture.slack.text
        assert (await ask(test_env, measure=Measure.RESTORE, instances=None)).end == "Passed"
        (watch,) = watches(test_env)
        assert watch.parameters["measure"] == "restored to what it was before the first measure"

    play(scenario)


def test_a_watch_says_only_what_the_engine_has_signed() -> None:
    """The words of the measure are part of what is signed: another's words are refused, and nothing is told."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        await ask(test_env)
        (watch,) = watches(test_env)
        changed = {**watch.parameters, "measure": "sold to <!channel>"}
        run = test_env.start(flow_of(watch.deployment), **flow_of(watch.deployment).validate_parameters(changed))
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Refused"
    assert "sold to" not in test_env.fixture.slack.text


def test_read_only_needs_a_maintenance_revision() -> None:
    """The field, and what to do where the environment names none."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        return test_env, await ask(test_env, measure=Measure.READ_ONLY, instances=None)

    test_env, run = play(scenario)
    assert run.end == "Refused"
    assert f"measure: {BACKEND} has no maintenance revision. Deploy one" in run.message
    assert test_env.fixture.production.writes == []


def test_read_only_sends_everybody_to_the_maintenance_revision() -> None:
    """One traffic change; a release is refused until a person restores it, and users are back after that."""

    async def scenario(test_env: TestEnvironment) -> None:
        production = test_env.fixture.environments["production"]
        backend = production.service(BACKEND).model_copy(update={"maintenance_revision": f"{BACKEND}-maintenance"})
        services = [backend if one.name == BACKEND else one for one in production.services]
        test_env.fixture.environments["production"] = production.model_copy(update={"services": services})
        state = test_env.fixture.production.services[BACKEND]
        state.revisions[f"{BACKEND}-maintenance"] = state.revisions[f"{BACKEND}-00001-old"]
        assert (await ask(test_env, measure=Measure.READ_ONLY, instances=None)).end == "Passed"
        assert test_env.split(BACKEND) == {f"{BACKEND}-maintenance": 100}
        assert watches(test_env) == []
        assert "Watch: not watched: refused writes are answered 503" in test_env.fixture.slack.text
        test_env.fixture.publish(NEW)
        refused = await test_env.release(NEW)
        assert refused.end == "Refused"
        assert f"{BACKEND} was set to read-only, and its way back is" in refused.message
        assert (await ask(test_env, measure=Measure.RESTORE, instances=None)).end == "Passed"
        assert test_env.fixture.versions_served()[BACKEND] == OLD

    play(scenario)


def test_a_service_of_a_release_that_runs_is_left_alone() -> None:
    """The release would take it for a change by another person: roll it back first."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        running = test_env.start_release(NEW)
        await test_env.until(test_env.baking(BACKEND))
        run = await ask(test_env)
        await test_env.ended(running)
        assert running.end == "Promoted"
        return run

    run = play(scenario)
    assert run.end == "Refused"
    assert "Start rollback/… first" in run.message


def test_the_way_back_is_what_was_found_by_the_read_it_is_written_under() -> None:
    """Another person scales the service between the measure's first read and its write: restore gives back theirs."""
    theirs = Scaling(min_instances=2, max_instances=4)

    async def scenario(test_env: TestEnvironment) -> None:
        backend = test_env.fixture.production.services[BACKEND]

        def scaled_by_hand(process: Process, call: Call) -> None:
            if call.method == "write" and backend.scaling != theirs and backend.scaling.manual is None:
                backend.scaling, backend.etag = theirs, backend.etag + 1

        test_env.fixture.wire.faults.append(scaled_by_hand)
        assert (await ask(test_env)).end == "Passed"
        test_env.fixture.wire.faults.clear()
        assert (await ask(test_env, measure=Measure.RESTORE, instances=None)).end == "Passed"
        assert backend.scaling == theirs

    play(scenario)
