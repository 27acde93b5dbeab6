"""What a release finds out about its services and its project before any user is moved."""

from unittest.mock import patch

import pytest
from driver import Run, TestEnvironment, play
from fixture import NEW, SERVICES

from flows.flight_check import flight_check
from playbook.lease.record import Participant, Record
from playbook.release.traffic import ServiceSnapshot


def test_a_project_that_takes_stale_writes_gets_no_release() -> None:
    """Refused in one sentence after acquiring, and no service carries the lease."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        test_env.fixture.production.enforces_versions = False
        run = test_env.start_release()
        await test_env.ended(run)
        await test_env.fixture.production.settled()
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Refused"
    assert "conditional writes are not enforced here" in run.message
    assert not test_env.is_held("production")


@pytest.mark.parametrize(
    ("front", "says"),
    [({"is_url_disabled": True, "uri": ""}, "--default-url"), ({"ingress": "internal"}, "--ingress=all")],
    ids=["no default URL", "internal"],
)
def test_a_service_that_cannot_be_tested_is_refused_before_its_lease(front: dict[str, object], says: str) -> None:
    """One sentence with the command that mends it; nothing is written (C9)."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        cloud = test_env.fixture.production
        test_env.fixture.publish(NEW)
        read = cloud.read

        def closed(service: str) -> ServiceSnapshot:
            found = read(service)
            return found.model_copy(update=front) if service == SERVICES[-1] else found

        with patch.object(cloud, "read", closed):
            run = test_env.start_release()
            await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Refused"
    assert says in run.message
    assert SERVICES[-1] in run.message
    assert not test_env.fixture.production.writes


@pytest.mark.parametrize(
    ("enforces", "is_held", "end", "says"),
    [
        (True, False, "Passed", ""),
        (False, False, "Unfit", "conditional writes are not enforced here"),
        (True, True, "Unfit", "every service is held"),
    ],
)
def test_a_flight_check_proves_conditional_writes_where_a_person_allows_it(
    enforces: bool, is_held: bool, end: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a service that no release holds; what a release has is not written to."""
    monkeypatch.setattr("flows.flight_check.dependencies", lambda env: {})

    async def scenario(test_env: TestEnvironment) -> Run:
        cloud = test_env.fixture.production
        cloud.enforces_versions = enforces
        for name in cloud.services if is_held else ():
            split = cloud.read(name).pinned
            held = Participant(release_id=f"{NEW}-1f2e3d", epoch=1, coordinator="ethixai-ai-core", split=split)
            cloud.store(name, Record(participant=held, epoch=1))
        return await test_env.follow(flight_check, environment="production", allow_a_write=True)

    run = play(scenario)
    assert run.end == end, run.message
    assert says in run.message
