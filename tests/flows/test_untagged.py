"""A service whose name leaves no room for a tag (``has_tags = false``): it is released without smoke tests before it
has users, and no tag of ours is ever on it."""

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES

LEAD, BACKEND, FRONTEND = SERVICES


def without_tags(test_env: TestEnvironment, name: str) -> None:
    """Production's file says that this service has none."""
    production = test_env.fixture.environments["production"]
    services = [one.model_copy(update={"has_tags": False}) if one.name == name else one for one in production.services]
    changed = production.model_copy(update={"services": services})
    changed.sign_with(production.signer)
    test_env.fixture.environments["production"] = changed


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(
    ("behaviour", "end"), [(Behaviour(), "Promoted"), (Behaviour(errors=0.05), "Reverted")], ids=["good", "bad"]
)
def test_a_service_without_tags_is_released_and_taken_back(name: str, behaviour: Behaviour, end: str) -> None:
    """No write asks for a tag on it; the others have theirs, and are tested before they have users."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        without_tags(test_env, name)
        test_env.fixture.publish(NEW, {name: behaviour})
        run = await test_env.release()
        await test_env.catch_up()
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == end, run.message
    assert set(test_env.fixture.versions_served().values()) == {NEW if end == "Promoted" else OLD}
    splits = [(one.service, one.change.split) for one in test_env.fixture.production.writes if one.change.split]
    assert not [split for service, split in splits if service == name and split.tags]
    assert {service for service, split in splits if split.tags} == set(SERVICES) - {name}
    said = [line for _, line in test_env.server.log if "not tested before it has users" in line]
    assert said, "the log does not say that it is not tested"
    assert all(name in line for line in said)


def test_a_bad_start_of_a_service_without_tags_reaches_no_user() -> None:
    """It is deployed at 0 % all the same, and a revision that does not start is seen there."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        without_tags(test_env, FRONTEND)
        test_env.fixture.publish(NEW, {FRONTEND: Behaviour(starts=False)})
        return test_env, await test_env.release()

    test_env, run = play(scenario)
    assert (run.end, set(test_env.fixture.versions_served().values())) == ("Reverted", {OLD})


def test_smoke_tests_after_its_promotion_take_it_back() -> None:
    """The first time that it is tested is with users: a failure there takes every service back."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        without_tags(test_env, BACKEND)
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(smoke=False, smoke_serving=False)})
        return test_env, await test_env.release()

    test_env, run = play(scenario)
    assert (run.end, set(test_env.fixture.versions_served().values())) == ("Reverted", {OLD})
    assert "answered 500" in run.message
