"""GitHub Deployments and Sentry's deploys: each state is told once, whatever became of a reply, and in any order."""

from typing import Any

import pytest
from pydantic import SecretStr

from blocks import GitHub, Sentry
from playbook.errors import Refused, Transient
from playbook.messages.facts import DeploymentState, Recorded, TakenBack

OLD, NEW = "abc122", "abc123"
START, DONE, FAILED = DeploymentState.IN_PROGRESS, DeploymentState.SUCCESS, DeploymentState.FAILURE


@pytest.fixture
def github(stand_ins: Any) -> GitHub:
    """The stand-in's repository, in which CI has built both commits."""
    for commit in (OLD, NEW):
        stand_ins.vendors.registry.publish("ghcr.io/geoaziz/ethixai-backend", f"sha-{commit}", {})
    where = f"{stand_ins.url}/github"
    return GitHub(repository="geoaziz/ethixai", token=SecretStr("token"), api_url=where, timeout_s=20)


@pytest.fixture
def sentry(stand_ins: Any) -> Sentry:
    """The stand-in's organization."""
    return Sentry(
        organization="ethixai", projects=["backend"], token=SecretStr("token"), api_url=f"{stand_ins.url}/sentry"
    )


def recorded(state: DeploymentState, commit: str = NEW, description: str = "v1 serves all users") -> Recorded:
    """A release of ``commit`` stands so."""
    return Recorded(
        key=f"{commit}/{state}",
        release_id=f"v20251116-{commit}-1f2e3d",
        environment="production",
        is_production=True,
        commit=commit,
        state=state,
        description=description,
        url="https://prefect.example/runs/1",
    )


async def test_a_release_is_a_deployment_with_its_states(github: GitHub, stand_ins: Any) -> None:
    """In progress, then success; the one before becomes inactive. Telling it again changes nothing."""
    for state in (START, DONE):
        await github.record(recorded(state, OLD))
    for state in (START, START, DONE, DONE):
        await github.record(recorded(state))
    assert stand_ins.vendors.github.deployed("production") == [
        (OLD, ["in_progress", "success", "inactive"]),
        (NEW, ["in_progress", "success"]),
    ]
    made = next(said for said in stand_ins.told("github") if "ref" in said)
    assert (made["auto_merge"], made["required_contexts"], made["production_environment"]) == (False, [], True)


async def test_a_release_that_is_taken_back_leaves_the_one_before_active(github: GitHub, stand_ins: Any) -> None:
    """It failed: what users have is still the deployment before."""
    for one in (recorded(START, OLD), recorded(DONE, OLD), recorded(START), recorded(FAILED)):
        await github.record(one)
    assert stand_ins.vendors.github.deployed("production") == [
        (OLD, ["in_progress", "success"]),
        (NEW, ["in_progress", "failure"]),
    ]


async def test_a_start_that_is_told_late_does_not_begin_it_again(github: GitHub, stand_ins: Any) -> None:
    """An announce run may send it after the end."""
    for state in (DONE, START):
        await github.record(recorded(state))
    assert stand_ins.vendors.github.deployed("production") == [(NEW, ["success"])]


@pytest.mark.parametrize("path", ["*/deployments", "*/statuses"])
async def test_a_lost_reply_makes_no_second_deployment(github: GitHub, stand_ins: Any, path: str) -> None:
    """It was made and the answer did not arrive: the next try finds it."""
    stand_ins.vendors.fault("github", applied=True, method="POST", path=path)
    with pytest.raises(Transient):
        await github.record(recorded(START))
    await github.record(recorded(START))
    assert stand_ins.vendors.github.deployed("production") == [(NEW, ["in_progress"])]


async def test_a_long_description_is_cut_to_what_github_takes(github: GitHub, stand_ins: Any) -> None:
    """140 characters; a longer one is refused there."""
    await github.record(recorded(FAILED, description="Rolled back: " + "error rate 5 % " * 40))
    assert all(len(str(said.get("description", ""))) <= 140 for said in stand_ins.told("github"))
    assert stand_ins.vendors.github.deployed("production") == [(NEW, ["failure"])]


@pytest.mark.parametrize(("commit", "token"), [("ffffff", "token"), (NEW, "readonly"), (NEW, "wrong")])
async def test_what_github_refuses_is_refused(github: GitHub, stand_ins: Any, commit: str, token: str) -> None:
    """A commit that it does not know, and a token that may not."""
    wrong = GitHub(repository="geoaziz/ethixai", token=SecretStr(token), api_url=github.api_url, timeout_s=20)
    with pytest.raises(Refused):
        await wrong.record(recorded(START, commit))
    assert stand_ins.vendors.github.deployed("production") == []


TAKEN = TakenBack(
    key="r/taken-back",
    release_id="v20251116-abc123-1f2e3d",
    version="v20251116-abc123",
    back_on="v20251115-abc122",
    reason="Error rate 4.8 % (18 of 376) is above 0.5 %.",
    from_s=1_763_301_600.0,
    until_s=1_763_301_900.0,
    url="https://prefect.example/runs/1",
)


def deploys(stand_ins: Any) -> list[dict[str, Any]]:
    """What Sentry was told of deploys, in order."""
    return [said for said in stand_ins.told("sentry") if "environment" in said]


async def test_sentry_shows_why_and_for_how_long_and_what_users_have_since(sentry: Sentry, stand_ins: Any) -> None:
    """A deploy of each release says it; telling it twice makes no more of them."""
    await sentry.release(TAKEN.version, NEW)
    for _ in range(2):
        await sentry.take_back(TAKEN, NEW)
    first, taken, back = deploys(stand_ins)
    assert first["name"] == TAKEN.version
    assert taken["name"].startswith("taken back (1f2e3d): Error rate 4.8 % (18 of 376)")
    assert (taken["dateStarted"], taken["dateFinished"]) == ("2025-11-16T14:00:00Z", "2025-11-16T14:05:00Z")
    assert back["name"] == "back (1f2e3d) from v20251116-abc123"
    assert back["dateFinished"] == "2025-11-16T14:05:00Z"


async def test_a_release_that_sentry_never_heard_of_is_made_first(sentry: Sentry, stand_ins: Any) -> None:
    """Its own message may have been lost, and what users are back on may be older than Sentry's set-up."""
    await sentry.take_back(TAKEN, NEW)
    made = [said["version"] for said in stand_ins.told("sentry") if "projects" in said and "environment" not in said]
    assert made == [TAKEN.version, TAKEN.back_on]


async def test_a_release_that_comes_again_after_it_was_taken_back_is_deployed_again(
    sentry: Sentry, stand_ins: Any
) -> None:
    """The newest deploy is of what users have."""
    await sentry.release(TAKEN.version, NEW)
    await sentry.take_back(TAKEN, NEW)
    await sentry.release(TAKEN.version, NEW)
    assert deploys(stand_ins)[-1]["name"] == TAKEN.version
    assert len(deploys(stand_ins)) == 4


async def test_where_users_were_on_is_not_always_known(sentry: Sentry, stand_ins: Any) -> None:
    """Revisions without a recorded release: only what was taken back is told."""
    await sentry.take_back(TAKEN.model_copy(update={"back_on": ""}), NEW)
    assert [said["name"][:10] for said in deploys(stand_ins)] == ["taken back"]


async def test_a_lost_reply_of_sentry_makes_no_second_deploy(sentry: Sentry, stand_ins: Any) -> None:
    """The deploy was made and the answer did not arrive."""
    stand_ins.vendors.fault("sentry", applied=True, method="POST", path="*/deploys/")
    with pytest.raises(Transient):
        await sentry.take_back(TAKEN, NEW)
    await sentry.take_back(TAKEN, NEW)
    assert len(deploys(stand_ins)) == 2
