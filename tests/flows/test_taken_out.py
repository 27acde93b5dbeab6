"""A service that leaves the environment's file, or Cloud Run, while a release holds it: users of the others go back,
and a person's rollback or stand-down ends."""

import pytest
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES

from flows.recovery import recovery
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.lease.record import Record
from playbook.release.request import RollbackRequest, StandDown
from playbook.release.traffic import TrafficSplit

COORDINATOR, BACKEND, FRONTEND = SERVICES
NEXT = "v20251123-def456"


async def baking(test_env: TestEnvironment) -> Run:
    """A release whose canary has users on every service."""
    test_env.fixture.publish(NEW)
    run = test_env.start_release()
    await test_env.until(lambda: all(test_env.baking(name)() for name in SERVICES))
    return run


def take_out(test_env: TestEnvironment, service: str) -> None:
    """A person applies production's file without the service."""
    environments = test_env.fixture.environments
    left = [one for one in environments["production"].services if one.name != service]
    environments["production"] = environments["production"].model_copy(update={"services": left})


@pytest.mark.parametrize("service", [COORDINATOR, FRONTEND], ids=["the coordinator", "a participant"])
def test_a_lost_release_of_a_service_that_was_taken_out_is_reverted(service: str) -> None:
    """The lease is signed, so it is no stranger's: all its users go back, those of that service too."""

    async def scenario(test_env: TestEnvironment) -> None:
        (await baking(test_env)).process.die()
        take_out(test_env, service)
        (found,) = await test_env.recover()
        assert (found.end, f"{service} is no service of production any more" in found.message) == ("Reverted", True)
        assert set(test_env.fixture.versions_served().values()) == {OLD}
        assert len(test_env.fixture.pagerduty.incidents) == 1

    play(scenario)


@pytest.mark.parametrize("service", [COORDINATOR, FRONTEND], ids=["the coordinator", "a participant"])
def test_a_rollback_takes_back_a_release_of_a_service_that_was_taken_out(service: str) -> None:
    """The release is under way. Without a target it is what is taken back, and it is promoted no more."""

    async def scenario(test_env: TestEnvironment) -> None:
        running = await baking(test_env)
        take_out(test_env, service)
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="checkout fails", requested_by="Ada")
        back = test_env.start(rollback, request=asked, environment="production")
        await test_env.ended(back, running)
        assert (back.end, running.end) == ("RolledBack", "Fenced")
        assert set(test_env.fixture.versions_served().values()) == {OLD}

    play(scenario)


def test_a_lost_release_whose_participant_was_deleted_is_reverted() -> None:
    """It has no users. The others go back, and the lease goes: the next release is not held up for ever."""

    async def scenario(test_env: TestEnvironment) -> None:
        run = await baking(test_env)
        del test_env.fixture.production.services[FRONTEND]
        await test_env.ended(run)
        assert (run.end, f"{FRONTEND} was deleted meanwhile" in run.message) == ("Reverted", True)
        assert not test_env.is_held("production")

    play(scenario)


def test_a_release_is_stood_down_although_a_participant_was_deleted() -> None:
    """A named person takes over: the lease goes from the services that are there."""

    async def scenario(test_env: TestEnvironment) -> None:
        (await baking(test_env)).process.die()
        del test_env.fixture.production.services[FRONTEND]
        lease = Record.read(test_env.fixture.production.read(COORDINATOR)).lease
        assert lease is not None
        asked = StandDown(release=lease.release_id, by="Ada", reason="the frontend was deleted")
        run = test_env.start(recovery, environment="production", stand_down=asked)
        await test_env.ended(run)
        assert run.end == "Interrupted"
        assert not test_env.is_held("production")

    play(scenario)


@pytest.mark.parametrize("to", ["", NEW, BACKEND])
def test_a_rollback_names_a_service_that_was_taken_out_after_the_promotion(to: str) -> None:
    """It is none of this environment any more, so it is not moved: people read where it stays, and the command that
    moves it. Where they named one revision, they know what they left."""

    async def scenario(test_env: TestEnvironment) -> None:
        for version in (NEW, NEXT):
            test_env.fixture.publish(version)
            assert (await test_env.release(version)).end == "Promoted"
        before = {name: Record.read(test_env.fixture.production.read(name)).last_good[1].revision for name in SERVICES}
        take_out(test_env, FRONTEND)
        asked = RollbackRequest(
            symptom=Symptom.ERRORS_ABOVE_MAX, reason="checkout fails", requested_by="Ada", to=before.get(to, to)
        )
        back = test_env.start(rollback, request=asked, environment="production")
        await test_env.ended(back)
        assert back.end == "RolledBack", back.message
        where = test_env.fixture.environments["production"].gcloud_flags
        command = f"gcloud run services update-traffic {FRONTEND} {where} --to-revisions={before[FRONTEND]}=100"
        is_named = to != BACKEND
        assert (f"{FRONTEND} is no longer in the environment's file, so it stays on" in back.message) == is_named
        assert (command in back.message) == is_named
        (said,) = [one.text for one in test_env.fixture.slack.said if "ROLLBACK EXECUTED" in one.text]
        assert (command in said) == is_named
        assert any(command in page for pages in test_env.server.artifacts.values() for page in pages) == is_named
        assert test_env.fixture.versions_served()[FRONTEND] == NEXT

    play(scenario)


@pytest.mark.parametrize("is_deleted", [True, False], ids=["deleted", "moved by hand"])
def test_a_rollback_says_nothing_of_a_service_that_was_taken_out_and_does_not_serve_it(is_deleted: bool) -> None:
    """There is nothing left to take back."""

    async def scenario(test_env: TestEnvironment) -> None:
        test_env.fixture.publish(NEW)
        assert (await test_env.release()).end == "Promoted"
        take_out(test_env, FRONTEND)
        if is_deleted:
            del test_env.fixture.production.services[FRONTEND]
        else:
            await test_env.out_of_band(FRONTEND, TrafficSplit.all_to(f"{FRONTEND}-00001-old"))
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="checkout fails", requested_by="Ada")
        back = test_env.start(rollback, request=asked, environment="production")
        await test_env.ended(back)
        assert (back.end, FRONTEND in back.message) == ("RolledBack", False)

    play(scenario)
