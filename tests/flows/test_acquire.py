"""Every kind of flow acquires its services in the same way: with a heartbeat, and all of them or none."""

import asyncio
from unittest.mock import patch

import pytest
from cloud import Cloud
from driver import Run, TestEnvironment, play
from emergencies import Hotfix, Rollback
from fixture import NEW, SERVICES
from migration_rollbacks import MIGRATION_ROLLBACKS, WRITERS
from scenarios import HEALTHY, ChaosScenario

from flows.recovery import recovery
from playbook.errors import Refused, Transient
from playbook.lease.change import Change
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot

KINDS: dict[str, tuple[ChaosScenario, str]] = {
    "release": (HEALTHY, SERVICES[-1]),
    "hotfix": (Hotfix("hotfix"), SERVICES[-1]),
    "rollback": (Rollback("rollback"), SERVICES[0]),
    "migration rollback": (MIGRATION_ROLLBACKS[0], WRITERS[-1]),
}
"""The scenario, and the service that is acquired last."""


@pytest.mark.parametrize(("scenario", "last"), KINDS.values(), ids=KINDS)
def test_a_service_that_takes_no_write_refuses_the_run_in_the_end(scenario: ChaosScenario, last: str) -> None:
    """For longer than it is asked again, as with a quota that stays used up: people are told, and nothing is held."""

    async def acquire(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        cloud = test_env.fixture.production
        write = cloud.write

        async def busy(snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
            if snapshot.service == last and Record.read(cloud.read(last)).holder == "":
                raise Transient(f"{last}: RESOURCE_EXHAUSTED: Quota exceeded.")
            return await write(snapshot, change)

        with patch.object(cloud, "write", busy):
            run = await scenario.begin(test_env, {})
        return test_env, run

    test_env, run = play(acquire)
    assert run.end == "Refused"
    assert "Quota exceeded" in run.message
    assert not test_env.is_held("production")
    assert test_env.fixture.slack.keys
    assert bool(test_env.fixture.pagerduty.incidents) is (scenario is not HEALTHY)  # users wait for all but a release


def refusing(cloud: Cloud, service: str, *, is_accepted: bool) -> object:
    """A patch: the first write to ``service`` is refused, before it is accepted or in its operation."""
    write, refused = cloud.write, list[str]()

    async def once(snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        if snapshot.service != service or refused:
            return await write(snapshot, change)
        refused.append(service)
        if is_accepted:
            await write(snapshot, change)
        raise Refused(f"{service}: PERMISSION_DENIED: iam.serviceAccounts.actAs")

    return patch.object(cloud, "write", once)


@pytest.mark.parametrize("is_accepted", [False, True], ids=["refused at once", "accepted, then refused"])
@pytest.mark.parametrize(("scenario", "last"), KINDS.values(), ids=KINDS)
def test_a_refused_acquisition_leaves_nothing_behind(scenario: ChaosScenario, last: str, is_accepted: bool) -> None:
    """Every service that was touched is as it was, also the one whose write failed; the run ends Refused."""

    async def acquire(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, dict[str, dict[str, int]]]:
        cloud = test_env.fixture.production
        before = {name: dict(cloud.services[name].split.percent) for name in SERVICES}
        with refusing(cloud, last, is_accepted=is_accepted):
            run = await scenario.begin(test_env, {})
        await cloud.settled()
        return test_env, run, before

    test_env, run, before = play(acquire)
    assert run.end == "Refused"
    assert "PERMISSION_DENIED: iam.serviceAccounts.actAs" in run.message
    assert not test_env.is_held("production")
    if isinstance(scenario, Rollback | type(MIGRATION_ROLLBACKS[0])):
        before = {name: {test_env.fixture.production.services[name].served.main: 100} for name in SERVICES}
    assert {name: test_env.fixture.production.services[name].split.percent for name in SERVICES} == before


def test_a_migration_rollback_whose_lease_is_served_late_is_left_alone() -> None:
    """Cloud Run takes 45 s for each write: a recovery that looks meanwhile finds the heartbeat."""
    scenario = MIGRATION_ROLLBACKS[0]

    async def late(test_env: TestEnvironment) -> tuple[Run, Run]:
        await scenario.prepare(test_env)
        flow, request = scenario.asked()
        with patch("cloud.RECONCILE_S", 45):
            run = test_env.start(flow, request=request, environment="production")
            await test_env.until(lambda: Record.read(test_env.fixture.production.read(WRITERS[0])).lease is not None)
            await asyncio.sleep(40)
            looking = test_env.start(recovery, environment="production")
            await test_env.ended(looking, run)
        return run, looking

    run, looking = play(late)
    assert (run.end, looking.end, looking.message) == ("RolledBack", "Passed", "Nothing is lost in production.")


def test_latest_is_given_back_where_nothing_was_deployed() -> None:
    """A refused release leaves LATEST as it found it; traffic would otherwise stay pinned without a word."""

    async def acquire(test_env: TestEnvironment) -> dict[str, dict[str, int]]:
        test_env.fixture.publish(NEW)
        with refusing(test_env.fixture.production, SERVICES[1], is_accepted=True):
            run = await test_env.release()
        assert run.end == "Refused"
        await test_env.fixture.production.settled()
        return {name: dict(state.split.percent) for name, state in test_env.fixture.production.services.items()}

    assert play(acquire) == {name: {"LATEST": 100} for name in SERVICES}
