"""A refusal has an end by phase: nothing stays half done, and message and page carry the vendor's own words."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
from cloud import Behaviour, Cloud, RevisionState
from driver import Run, TestEnvironment, play
from emergencies import Rollback
from fixture import NEW, OLD, SERVICES

from flows.recovery import recovery
from playbook.errors import Refused, ReleaseError, Transient
from playbook.lease.change import Change
from playbook.lease.record import LEASE, PARTICIPANT, Record
from playbook.release.request import StandDown
from playbook.release.traffic import PREVIOUS_TAG, ServiceSnapshot

COORDINATOR, BACKEND, FRONTEND = SERVICES
DENIED = "code 7: Permission 'iam.serviceaccounts.actAs' denied on the service account"
INVALID = "code 3: INVALID_ARGUMENT: the traffic target is not valid"


def refusing(
    cloud: Cloud,
    service: str,
    is_it: Callable[[Change], bool],
    words: str,
    times: int = 10**6,
    error: type[ReleaseError] = Refused,
) -> object:
    """A patch: Cloud Run refuses so many of the writes to ``service`` that are meant."""
    write, left = cloud.write, [times]

    async def refused(snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        if snapshot.service == service and is_it(change) and left[0]:
            left[0] -= 1
            raise error(f"{service}: {words}")
        return await write(snapshot, change)

    return patch.object(cloud, "write", refused)


def is_deploy(change: Change) -> bool:
    return change.deployment is not None


def is_promotion(change: Change) -> bool:
    lease = change.record.lease or change.record.participant
    return lease is not None and change.split is not None and "abc123" in change.split.main


def is_revert(change: Change) -> bool:
    return change.split is not None and change.split.main.endswith("-old") and len(change.split.percent) == 1


def release_refused(
    is_it: Callable[[Change], bool], words: str, error: type[ReleaseError] = Refused
) -> tuple[TestEnvironment, Run]:
    """A healthy release whose backend is refused one kind of write."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        with refusing(test_env.fixture.production, BACKEND, is_it, words, error=error):
            run = await test_env.release()
        await test_env.catch_up()
        return test_env, run

    return play(scenario)


@pytest.mark.parametrize(
    ("is_it", "words", "severity"), [(is_deploy, DENIED, "P2"), (is_promotion, INVALID, "P1")], ids=["C5", "C6"]
)
def test_a_step_forward_that_is_refused_takes_the_release_back(
    is_it: Callable[[Change], bool], words: str, severity: str
) -> None:
    """In this run, for every service; the vendor's words are in the message and on the page."""
    test_env, run = release_refused(is_it, words)
    assert (run.end, words in run.message) == ("Reverted", True)
    assert set(test_env.fixture.versions_served().values()) == {OLD}
    assert not test_env.is_held("production")
    (page,) = test_env.fixture.pagerduty.incidents.values()
    assert (page.severity, words in page.summary) == (severity, True)


@pytest.mark.parametrize(("is_it", "severity"), [(is_deploy, "P2"), (is_promotion, "P1")], ids=["deploy", "promote"])
def test_a_quota_that_stays_used_up_takes_the_release_back(is_it: Callable[[Change], bool], severity: str) -> None:
    """It is asked again for minutes first; then this run ends, with the vendor's words."""
    words = "code 8: Quota exceeded for quota metric 'Write requests'"
    test_env, run = release_refused(is_it, words, Transient)
    assert (run.end, words in run.message) == ("Reverted", True)
    assert set(test_env.fixture.versions_served().values()) == {OLD}
    assert not test_env.is_held("production")
    (page,) = test_env.fixture.pagerduty.incidents.values()
    assert (page.severity, words in page.summary) == (severity, True)


def test_a_revert_that_is_refused_does_not_keep_the_others() -> None:
    """The others are back, a person is paged at once, and recovery goes on until users are back."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, dict[str, str], list[str]]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        is_baking = test_env.baking(BACKEND)
        refused = refusing(
            test_env.fixture.production, BACKEND, lambda one: is_baking() and is_revert(one), DENIED, times=2
        )
        with refused:
            run = await test_env.release()
            await test_env.fixture.production.settled()
            served = test_env.fixture.versions_served()
            paged = [page.severity for page in test_env.fixture.pagerduty.incidents.values()]
            await test_env.recover()
        await test_env.catch_up()
        return test_env, run, served, paged

    test_env, run, served, paged = play(scenario)
    assert (run.end, DENIED in run.message) == ("Failed", True)
    assert (served[COORDINATOR], served[FRONTEND], paged) == (OLD, OLD, ["P1"])
    assert NEW in test_env.fixture.published
    assert set(test_env.fixture.versions_served().values()) == {OLD}
    assert not test_env.is_held("production")


def test_a_person_can_stand_a_release_down() -> None:
    """Recovery does not try again: the lease is gone, users are where they were, and who it was is told."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, list[Run]]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        is_baking = test_env.baking(BACKEND)
        denied = refusing(test_env.fixture.production, BACKEND, lambda one: is_baking() and is_revert(one), DENIED)
        with denied:
            await test_env.release()
            lease = Record.read(test_env.fixture.production.read(COORDINATOR)).lease
            asked = StandDown(release=lease.release_id, by="Ada", reason="the owner is asked")
            run = test_env.start(recovery, environment="production", stand_down=asked)
            await test_env.ended(run)
            return test_env, run, await test_env.recover()

    test_env, run, followers = play(scenario)
    assert (run.end, "stood down by Ada" in run.message, followers) == ("Interrupted", True, [])
    assert not test_env.is_held("production")
    assert len(test_env.split(BACKEND)) == 2
    assert "WAS STOOD DOWN" in test_env.fixture.slack.text


def with_dead_tag(test_env: TestEnvironment, tag: str = "pr-7") -> None:
    """A person has deployed a preview of the backend that never became ready."""
    state = test_env.fixture.production.services[BACKEND]
    name = f"{BACKEND}-00007-bad"
    state.revisions[name] = RevisionState("image", 0.0, Behaviour(starts=False))
    state.split = state.split.with_tag(tag, name)


def test_a_rollback_drops_a_dead_tag_and_says_so() -> None:
    """Case C2: all services go back; the preview that never became ready would make Cloud Run refuse it."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        rollback = Rollback("rollback")
        await rollback.prepare(test_env)
        with_dead_tag(test_env)
        flow, request = rollback.asked()
        run = test_env.start(flow, request=request, environment="production")
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "RolledBack"
    assert "tag pr-7 was removed, since revision ethixai-backend-00007-bad never became ready" in run.message
    assert set(test_env.fixture.versions_served().values()) == {OLD}
    assert not test_env.is_held("production")


@pytest.mark.parametrize(("tag", "written"), [("pr-7", "pr-7"), ("pr; curl evil.example", "'pr; curl evil.example'")])
def test_a_release_on_a_dead_tag_is_refused_with_the_command_that_mends_it(tag: str, written: str) -> None:
    """Case C3: nothing was touched, and nothing stays. Whatever the tag is called, a person can copy the command."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        with_dead_tag(test_env, tag)
        return test_env, await test_env.release()

    test_env, run = play(scenario)
    assert run.end == "Refused"
    assert f"gcloud run services update-traffic {BACKEND} --project=" in run.message
    assert run.message.rstrip(".").endswith(f"--remove-tags={written}")
    assert not test_env.fixture.production.writes


def test_a_tag_that_a_release_needs_is_refused_with_the_command_that_frees_it() -> None:
    """Another person gave our name to a revision of theirs."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        state = test_env.fixture.production.services[BACKEND]
        state.split = state.served = state.split.with_tag(PREVIOUS_TAG, f"{BACKEND}-00001-old")
        return test_env, await test_env.release()

    test_env, run = play(scenario)
    assert run.end == "Refused"
    assert f"tag {PREVIOUS_TAG} is on {BACKEND}-00001-old, and no release of ours put it there" in run.message
    assert run.message.rstrip(".").endswith(f"--remove-tags={PREVIOUS_TAG} --update-tags=NAME={BACKEND}-00001-old")
    assert not test_env.fixture.production.writes


def test_a_tag_that_goes_during_the_bake_does_not_keep_users_on_the_canary() -> None:
    """Case C1: it was there at acquisition; its owner removed it, and its revision, before errors began."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        cloud = test_env.fixture.production
        state = cloud.services[BACKEND]
        name = f"{BACKEND}-00012-pr"
        state.revisions[name] = RevisionState("image", 0.0, Behaviour(), True)
        state.split = state.split.with_tag("pr-12", name)
        state.served = state.served.with_tag("pr-12", name)
        run = test_env.start_release()
        await test_env.until(test_env.baking(BACKEND))
        found = cloud.read(BACKEND)
        await test_env.out_of_band(BACKEND, found.split.without_tags("pr-12"))
        del state.revisions[name]
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Reverted"
    assert set(test_env.fixture.versions_served().values()) == {OLD}


def test_a_preview_deployed_during_the_bake_does_not_stop_the_release() -> None:
    """Case C4: `gcloud run deploy --no-traffic --tag pr-9`. Its tag is there afterwards."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(BACKEND))
        state = test_env.fixture.production.services[BACKEND]
        name = f"{BACKEND}-00009-pr"
        state.revisions[name] = RevisionState("image", 0.0, Behaviour(), True)
        state.latest_created = state.latest_ready = name
        found = test_env.fixture.production.read(BACKEND)
        await test_env.out_of_band(BACKEND, found.split.with_tag("pr-9", name))
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Promoted"
    assert test_env.fixture.production.services[BACKEND].split.tags["pr-9"] == f"{BACKEND}-00009-pr"


POISONS = {
    "no JSON": "{",
    "a flow run that is no UUID": '{"flow_run_id": "not-a-uuid"}',
    "250 kB": "x" * 250_000,
    "deep": "[" * 50_000,
    "not finite": '{"deadline_s": NaN}',
}


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("service", SERVICES)
def test_poisoned_annotations_do_not_keep_the_others_from_recovery(service: str, poison: str) -> None:
    """Cases H1 and H3: a bad release dies in its bake, and one service's annotations are garbage. The others are back,
    this one is paged."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        run = test_env.start_release()
        await test_env.until(lambda: all(test_env.baking(name)() for name in SERVICES))
        run.process.die()
        test_env.cancel(run)
        state = test_env.fixture.production.services[service]
        state.annotations = {**state.annotations, LEASE if service == COORDINATOR else PARTICIPANT: poison}
        await test_env.follow(recovery, environment="production")
        await test_env.fixture.production.settled()
        return test_env

    test_env = play(scenario)
    served = test_env.fixture.versions_served()
    assert {name: served[name] for name in SERVICES if name != service} == dict.fromkeys(
        (name for name in SERVICES if name != service), OLD
    )
    pages = test_env.fixture.pagerduty.incidents
    assert any(service in page.summary and page.severity == "P1" for page in pages.values()), list(pages)


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("service", SERVICES)
def test_poisoned_annotations_do_not_keep_the_others_from_a_rollback(service: str, poison: str) -> None:
    """The others go back; the run says which one did not, and a person is paged."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        rollback = Rollback("rollback")
        await rollback.prepare(test_env)
        state = test_env.fixture.production.services[service]
        state.annotations = {**state.annotations, LEASE: poison}
        flow, request = rollback.asked()
        run = test_env.start(flow, request=request, environment="production")
        await test_env.ended(run)
        await test_env.fixture.production.settled()
        return test_env, run

    test_env, run = play(scenario)
    served = test_env.fixture.versions_served()
    assert {served[name] for name in SERVICES if name != service} == {OLD}
    assert (run.end, f"{service}: its annotations" in run.message) == ("Unfit", True)
    assert any(page.key.endswith(f"set-aside/{service}") for page in test_env.fixture.pagerduty.incidents.values())
