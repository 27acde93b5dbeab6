"""Pause, Resume, Retry and Cancel in Prefect's UI: users are safe, and people are told."""

import asyncio
from collections.abc import Callable

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES
from prefect.client.schemas.objects import StateType

from flows.hotfix import hotfix
from flows.mitigate import mitigate
from flows.recovery import recovery
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Decision, Lease
from playbook.lease.record import Record
from playbook.release.request import HotfixRequest, Measure, MitigateRequest, RollbackRequest

LEAD, BACKEND, FRONTEND = SERVICES
ALL_OLD, ALL_NEW = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, NEW)


def lease_of(test_env: TestEnvironment, where: str = "production") -> Lease | None:
    """The lease on the coordinator."""
    return Record.read(test_env.fixture.clouds[where].read(LEAD)).lease


def stands(test_env: TestEnvironment, is_so: Callable[[Lease], bool], where: str = "production") -> Callable[[], bool]:
    """Whether the coordinator carries a lease of which ``is_so`` is true."""

    def found() -> bool:
        lease = lease_of(test_env, where)
        return lease is not None and is_so(lease)

    return found


def bakes(lease: Lease) -> bool:
    """Whether the canary is watched."""
    return lease.bake_start_s is not None


async def paused(
    test_env: TestEnvironment,
    is_so: Callable[[Lease], bool] = bakes,
    seconds: float = 300,
    backend: Behaviour | None = None,
    where: str = "production",
) -> tuple[Run, Run]:
    """A release that is paused in the UI once its lease is so, and the recovery that the pause has started."""
    test_env.fixture.publish(NEW, {BACKEND: backend or Behaviour()}, where=where)
    run = test_env.start_release()
    await test_env.until(stands(test_env, is_so, where))
    test_env.pause(run, seconds)
    await run.task
    (asked,) = [one for one in test_env.server.started.values() if one.deployment.startswith("recovery")]
    holding = test_env.start(recovery, **asked.parameters)
    await test_env.until(stands(test_env, lambda lease: lease.pause is not None, where))
    return run, holding


def test_a_paused_release_is_held_told_and_reverted_at_the_deadline() -> None:
    """The bake's end comes and goes, and it is not promoted. The run's page says what became of it."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        run, holding = await paused(test_env, seconds=120)
        began_s = test_env.fixture.now()
        await asyncio.sleep(60)
        assert test_env.split(LEAD) == {f"{LEAD}-00001-old": 90, max(test_env.split(LEAD), key=len): 10}
        await test_env.ended(holding)
        assert 100 < test_env.fixture.now() - began_s < 150
        await test_env.catch_up()
        return test_env, run, holding

    test_env, run, holding = play(scenario)
    assert (holding.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "not resumed by" in holding.message
    assert "PRODUCTION RELEASE PAUSED until" in test_env.fixture.slack.text
    state = test_env.server.runs[run.process.flow_run_id]
    assert (state.type, state.name) == (StateType.FAILED, "Reverted")
    assert "It was paused and not resumed. Recovery ended release" in str(state.message)
    assert not test_env.is_held("production")


def test_a_paused_release_that_is_resumed_goes_on_to_its_end() -> None:
    """The run itself takes it up again; what held it meanwhile steps aside, and both are told."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        run, holding = await paused(test_env)
        await asyncio.sleep(60)
        again = test_env.run_again(run, "Resuming")
        await test_env.ended(again, holding)
        await test_env.catch_up()
        return test_env, again, holding

    test_env, again, holding = play(scenario)
    assert (again.end, again.error, holding.end) == ("Promoted", None, "Passed")
    assert test_env.fixture.versions_served() == ALL_NEW
    assert "PRODUCTION RELEASE RESUMED" in test_env.fixture.slack.text
    assert test_env.fixture.pagerduty.incidents == {}


def test_errors_of_the_canary_end_a_pause() -> None:
    """It goes on being watched: users are back long before the deadline."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, float]:
        began_s = test_env.fixture.now()
        _, holding = await paused(test_env, seconds=3600, backend=Behaviour(errors=0.05))
        await test_env.ended(holding)
        return test_env, holding, test_env.fixture.now() - began_s

    test_env, holding, took_s = play(scenario)
    assert (holding.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "above 0.5 %" in holding.message
    assert took_s < 600


@pytest.mark.parametrize("decision", [Decision.DEPLOY, Decision.PROMOTE])
def test_a_pause_before_or_after_the_bake_is_held_too(decision: Decision) -> None:
    """No user is moved forward meanwhile; resumed, it is promoted."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        run, holding = await paused(test_env, lambda lease: lease.decision is decision)
        before = {service: test_env.split(service) for service in SERVICES}
        await asyncio.sleep(120)
        assert {service: test_env.split(service) for service in SERVICES} == before
        again = test_env.run_again(run, "Resuming")
        await test_env.ended(again, holding)
        return test_env, again

    test_env, again = play(scenario)
    assert (again.end, test_env.fixture.versions_served()) == ("Promoted", ALL_NEW)


def test_a_release_that_is_paused_in_staging_goes_on_to_production() -> None:
    """Staging's recovery holds it; resumed, it finishes staging and goes on."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        run, holding = await paused(test_env, lambda lease: True, where="staging")
        await asyncio.sleep(60)
        assert test_env.fixture.production.writes == []
        again = test_env.run_again(run, "Resuming")
        await test_env.ended(again, holding)
        return test_env, again

    test_env, again = play(scenario)
    assert (again.end, test_env.fixture.versions_served()) == ("Promoted", ALL_NEW)
    assert test_env.fixture.versions_served("staging") == ALL_NEW


def test_a_pause_outlives_the_process_that_holds_it() -> None:
    """The recovery that holds it is killed: the next one holds it on, and reverts it at the same deadline."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        _, holding = await paused(test_env)
        until = lease_of(test_env)
        holding.process.die()
        await asyncio.sleep(31)
        again = test_env.start(recovery, environment="production")
        await asyncio.sleep(60)
        now = lease_of(test_env)
        assert until is not None
        assert now is not None
        assert (now.pause, test_env.is_held("production")) == (until.pause, True)
        await test_env.ended(again)
        return test_env

    assert play(scenario).fixture.versions_served() == ALL_OLD


def test_a_paused_release_that_is_cancelled_is_reverted_at_once() -> None:
    """Cancel in the menu of the paused run."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        run, holding = await paused(test_env, seconds=3600)
        test_env.cancel(run)
        await asyncio.wait_for(test_env.ended(holding), 120)
        return test_env, run, holding

    test_env, run, holding = play(scenario)
    assert (holding.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "It was cancelled. Recovery ended release" in str(test_env.server.runs[run.process.flow_run_id].message)


def test_a_rollback_cannot_be_paused() -> None:
    """Users wait for it: recovery finishes it at once."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        await test_env.release()
        request = RollbackRequest(reason="bad", requested_by="Ada", symptom=Symptom.ERRORS_ABOVE_MAX)
        run = test_env.start(rollback, request=request, environment="production")
        await test_env.until(stands(test_env, lambda lease: lease.kind.value == "rollback"))
        test_env.pause(run, 3600)
        await run.task
        looking = test_env.start(recovery, environment="production")
        await test_env.ended(looking)
        return test_env, looking

    test_env, looking = play(scenario)
    assert test_env.fixture.versions_served() == ALL_OLD
    assert looking.end == "RolledBack"


@pytest.mark.parametrize("backend", [Behaviour(), Behaviour(errors=0.05)], ids=["promoted", "reverted"])
def test_a_retry_of_an_ended_release_is_refused(backend: Behaviour) -> None:
    """With one sentence; nothing is written, in staging neither."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: backend})
        run = await test_env.release()
        await test_env.catch_up()
        for cloud in test_env.fixture.clouds.values():
            cloud.writes.clear()
        again = test_env.run_again(run, "AwaitingRetry")
        await test_env.ended(again)
        return test_env, again

    test_env, again = play(scenario)
    assert again.end == "Refused"
    assert "This run has ended already as" in again.message
    assert ("is above 0.5 %" if backend.errors else "serves all users of") in again.message
    assert all(cloud.writes == [] for cloud in test_env.fixture.clouds.values())


def test_a_retry_of_a_rollback_does_not_roll_back_once_more() -> None:
    """It would take users back by one more release."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        for version in (NEW, "v20251117-fed987"):
            test_env.fixture.publish(version)
            await test_env.release(version)
        request = RollbackRequest(reason="bad", requested_by="Ada", symptom=Symptom.ERRORS_ABOVE_MAX)
        run = test_env.start(rollback, request=request, environment="production")
        await test_env.ended(run)
        again = test_env.run_again(run, "AwaitingRetry")
        await test_env.ended(again)
        return test_env, again

    test_env, again = play(scenario)
    assert (again.end, test_env.fixture.versions_served()) == ("Refused", ALL_NEW)


async def retried(test_env: TestEnvironment, run: Run) -> Run:
    """The run, which has ended, is retried in the UI; nothing was written before."""
    await test_env.ended(run)
    await test_env.catch_up()
    for cloud in test_env.fixture.clouds.values():
        cloud.writes.clear()
    again = test_env.run_again(run, "AwaitingRetry")
    await test_env.ended(again)
    return again


@pytest.mark.parametrize("is_good", [True, False], ids=["promoted", "reverted"])
def test_a_retry_of_an_ended_hotfix_is_refused(is_good: bool) -> None:
    """All users would get at once what was taken back before, without a canary."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        version = "v20251117-hotfix1-fed987"
        test_env.fixture.publish(version, {BACKEND: Behaviour(smoke_serving=is_good)})
        request = HotfixRequest(version=version, reason="a hole", incident="CVE-1", approver="ada")
        run = test_env.start(hotfix, request=request, environment="production")
        again = await retried(test_env, run)
        assert (run.end, again.end) == ("Promoted" if is_good else "Reverted", "Refused")
        return test_env, again

    test_env, again = play(scenario)
    assert "This run has ended already as" in again.message
    assert all(cloud.writes == [] for cloud in test_env.fixture.clouds.values())


def test_a_retry_of_a_mitigation_is_refused() -> None:
    """A person has restored the service since: the measure is not taken once more behind their back."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        fields = {"service": BACKEND, "reason": "queue grows", "requested_by": "ada"}
        scale = MitigateRequest(measure=Measure.SCALE, instances=2, **fields)
        run = test_env.start(mitigate, request=scale, environment="production")
        await test_env.ended(run)
        back = MitigateRequest(measure=Measure.RESTORE, **fields)
        await test_env.follow(mitigate, request=back, environment="production")
        return test_env, await retried(test_env, run)

    test_env, again = play(scenario)
    assert again.end == "Refused"
    assert test_env.fixture.production.writes == []
    assert test_env.fixture.production.services[BACKEND].scaling.manual is None


def test_a_cancelled_runs_page_says_what_recovery_did() -> None:
    """Its state stays Cancelled, and its message names the release and where users are."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(stands(test_env, bakes))
        run.process.die()
        test_env.cancel(run)
        await test_env.recover()
        return test_env, run

    test_env, run = play(scenario)
    state = test_env.server.runs[run.process.flow_run_id]
    assert state.is_cancelled()
    assert f"It was cancelled. Recovery ended release {NEW}-" in str(state.message)
    assert "as Reverted" in str(state.message)
