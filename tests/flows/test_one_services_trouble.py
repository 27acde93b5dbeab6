"""One service that cannot be written, or whose annotations are gone, keeps no other from its way back; and its own
users are not left in silence."""

from unittest.mock import patch

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES

from playbook.errors import Conflict, Refused, ReleaseError, Transient
from playbook.lease.change import Change
from playbook.release.traffic import ServiceSnapshot, TrafficSplit

COORDINATOR, BACKEND, FRONTEND = SERVICES


async def dead_in_its_bake(test_env: TestEnvironment) -> Run:
    """A release whose frontend fails 5 % of the canary's requests, and whose process has died."""
    test_env.fixture.publish(NEW, {FRONTEND: Behaviour(errors=0.05)})
    run = test_env.start_release()
    await test_env.until(lambda: all(test_env.baking(name)() for name in SERVICES))
    run.process.die()
    return run


@pytest.mark.parametrize(
    ("error", "words"),
    [(Conflict, "409 ABORTED"), (Transient, "503 UNAVAILABLE"), (Refused, "403 PERMISSION_DENIED")],
    ids=["conflict", "transient", "refused"],
)
def test_a_recovery_takes_the_others_back_where_one_service_cannot_be_written(
    error: type[ReleaseError], words: str
) -> None:
    """Every write to the backend fails, for ever: the others go back, and a P1 says where its users are and why."""

    async def scenario(test_env: TestEnvironment) -> None:
        await dead_in_its_bake(test_env)
        cloud = test_env.fixture.production
        write = cloud.write

        async def failing(snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
            if snapshot.service == BACKEND:
                raise error(f"{BACKEND}: {words}")
            return await write(snapshot, change)

        with patch.object(cloud, "write", failing):
            runs = await test_env.recover()
            served = test_env.fixture.versions_served()
            assert (served[COORDINATOR], served[FRONTEND]) == (OLD, OLD)
            (page,) = test_env.fixture.pagerduty.incidents.values()
            assert (page.severity, words in page.summary) == ("P1", True)
            assert runs[0].end == "Failed"
        await test_env.recover()
        assert set(test_env.fixture.versions_served().values()) == {OLD}

    play(scenario)


def test_a_coordinator_that_has_lost_its_lease_is_paged() -> None:
    """Another tool has removed every annotation. What pointed to the lease goes back; of the coordinator's users only a
    person knows where they belong."""

    async def scenario(test_env: TestEnvironment) -> None:
        await dead_in_its_bake(test_env)
        state = test_env.fixture.production.services[COORDINATOR]
        state.annotations, state.etag, state.last_modifier = {}, state.etag + 1, "terraform"
        (run,) = await test_env.recover()
        served = test_env.fixture.versions_served()
        assert (served[BACKEND], served[FRONTEND], run.end) == (OLD, OLD, "Unfit")
        (page,) = test_env.fixture.pagerduty.incidents.values()
        assert (page.key, page.severity) == (f"production/set-aside/{COORDINATOR}", "P1")
        assert "nothing watches them" in page.summary

    play(scenario)


def test_a_tag_that_was_moved_proves_nothing_of_the_new_revision() -> None:
    """The old revision would pass the smoke tests of the new one, which fails them, and then get users."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(smoke=False, smoke_serving=False)})
        cloud = test_env.fixture.production
        write, state = cloud.write, cloud.services[BACKEND]

        async def moved(snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
            written = await write(snapshot, change)
            if change.deployment and snapshot.service == BACKEND:
                tags = dict.fromkeys(state.split.tags, state.split.main)
                state.split = state.served = TrafficSplit(percent=state.split.percent, tags=tags)
                state.etag, state.last_modifier = state.etag + 1, "mallory@example.com"
            return written

        with patch.object(cloud, "write", moved):
            run = await test_env.release()
        assert (run.end, "moved there by mallory@example.com" in run.message) == ("Reverted", True)
        given = [one.change.split.percent for one in cloud.writes if one.service == BACKEND and one.change.split]
        assert not [percent for percent in given if any("abc123" in revision for revision in percent)]
        assert set(test_env.fixture.versions_served().values()) == {OLD}

    play(scenario)
